#pragma once

#include <string>

#include "core/status.h"
#include "engines/tensorflow/engine.h"

namespace tenon::tensorflow {

// The serialized ConfigProto for a session of these options, which is the one
// that makes the process's thread pools if there are none yet. Protobuf merges
// concatenated messages, the later one winning, so options.config_proto is simply
// appended. Fails with kConfigure.
Status MakeConfig(const SessionOptions& options, std::string* config);

// Puts the settings in force where the library finds them. From now on they are
// fixed, until UnfixProcess, for a library that could not be opened after all.
void FixProcess();
void UnfixProcess();

}  // namespace tenon::tensorflow
