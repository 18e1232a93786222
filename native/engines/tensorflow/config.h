#pragma once

#include <string>

#include "engines/tensorflow/engine.h"

namespace tenon::tensorflow {

// The serialized ConfigProto of `options`. Protobuf merges concatenated
// messages, the later one winning, so options.config_proto is simply appended.
std::string SerializeConfig(const SessionOptions& options);

}  // namespace tenon::tensorflow
