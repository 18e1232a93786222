#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"
#include "engines/onnxruntime/weights.h"

namespace tenon::onnxruntime {

// A UTF-8 path as the engine takes it.
std::basic_string<OrtPathChar> ToOrtPath(const std::string& path);

// kInvalidArgument for a text that the engine would take for another, because it
// ends at the first NUL.
Status CheckText(const std::string& what, const std::string& text);

// The engine's words after what was being set, which they often leave out.
Status WithSubject(const Status& status, const std::string& subject);

// What a session refers to as long as it lives, beside its model.
struct SessionResources {
  ForeignWeights weights;
  std::shared_ptr<WeightGroup> weight_group;
  LoraAdapters lora_adapters;
};

// The engine's form of `options`, without their providers. An option that it
// refuses is kInvalidArgument, one that it does not have kUnsupported.
Status MakeSessionOptions(const Library& library, const SessionOptions& options,
                          SessionOptionsHandle* handle, SessionResources* resources);

}  // namespace tenon::onnxruntime
