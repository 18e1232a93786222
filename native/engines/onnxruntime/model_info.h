#pragma once

#include "core/model_info.h"
#include "core/status.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// What a loaded model declares: one signature, "serving_default", whose inputs
// are the model's followed by the initializers that may be overridden (as
// optional inputs), and the model's own words about itself.
//
// A library before 1.24 does not tell a scalar from a tensor of unknown rank:
// both are then declared as of unknown rank, which refuses nothing.
Result<ModelInfo> ReadModelInfo(const Library& library, const OrtSession* session);

}  // namespace tenon::onnxruntime
