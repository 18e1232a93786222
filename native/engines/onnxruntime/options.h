#pragma once

#include <string>

#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// A UTF-8 path as the engine takes it.
std::basic_string<OrtPathChar> ToOrtPath(const std::string& path);

// The engine's form of `options`. An option that it refuses is
// kInvalidArgument, a provider kProvider.
Status MakeSessionOptions(const Library& library, const SessionOptions& options,
                          SessionOptionsHandle* handle);

}  // namespace tenon::onnxruntime
