#pragma once

#include <napi.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/model_info.h"
#include "engines/onnxruntime/engine.h"
#include "engines/tensorflow/engine.h"
#include "runtime/lane_pool.h"

namespace tenon::addon {

// The option objects of lib/native/types.ts in native form. TypeScript has
// resolved them already: every field is there, and one of the wrong kind is an
// ERR_TENON_INVALID_ARGUMENT naming it.

struct PoolOptions {
  size_t lanes;
  size_t max_queue;
  std::chrono::microseconds spin;
  int niceness;                      // of lanes of its own and of the engine's threads
  std::shared_ptr<LanePool> shared;  // null: lanes of the model's own
  double weight;
};

struct OnnxLoad {
  std::string library;
  onnxruntime::ModelSource source;
  onnxruntime::SessionOptions session;
  PoolOptions pool;
};

struct TensorFlowLoad {
  std::string library;
  tensorflow::ModelSource source;
  tensorflow::SessionOptions session;
  PoolOptions pool;
};

struct ProcessConfiguration {
  onnxruntime::EnvironmentOptions onnxruntime;
  tensorflow::ProcessOptions tensorflow;
};

// NativeConfiguration: a field that is not there is nobody's wish.
ProcessConfiguration ReadConfigure(Napi::Object options);

OnnxLoad ReadOnnxLoad(Napi::Object options);
TensorFlowLoad ReadTensorFlowLoad(Napi::Object options);

// NativeRunOptions; null for undefined.
std::shared_ptr<const EngineRunOptions> ReadRunOptions(Napi::Value options);

// A ValueSpec of lib/model/spec.ts, and back.
ValueSpec ReadSpec(Napi::Object spec);
Napi::Object WriteSpec(Napi::Env env, const ValueSpec& spec);

// NativeModelInfo.
Napi::Object WriteModelInfo(Napi::Env env, const ModelInfo& info);

Napi::Array WriteStrings(Napi::Env env, const std::vector<std::string>& strings);

}  // namespace tenon::addon
