#pragma once

#include <string>

#include "core/model_info.h"
#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// A sequence of no tensors of `element`'s dtype, which the engine's C functions
// cannot make. It lives as long as the library and may be fed to any number of
// runs at once. Thread-safe.
Status FindEmptySequence(const Library& library, const ValueSpec& element, const std::string& name,
                         const OrtValue** value);

}  // namespace tenon::onnxruntime
