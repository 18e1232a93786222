#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "addon/errors.h"
#include "addon/options.h"
#include "addon/session_wrap.h"
#include "addon/state.h"
#include "addon/values.h"
#include "platform/aligned_memory.h"
#include "platform/cpu_quota.h"

namespace tenon::addon {
namespace {

Napi::Object ArgumentObject(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsObject()) ThrowInvalidArgument(info.Env(), "an options object");
  return info[index].As<Napi::Object>();
}

// Loads on a background thread; `load` holds everything it needs.
template <typename Load>
Napi::Value LoadModel(Napi::Env env, Load load,
                      Result<std::shared_ptr<Session>> (*create)(const Load&)) {
  AddonState& state = AddonState::Of(env);
  const PendingPromise pending(env);
  const PoolOptions pool = load.pool;
  auto task = [load = std::make_shared<Load>(std::move(load)), create, pool, pending]() mutable {
    auto session = create(*load);
    load.reset();
    if (!session.ok()) {
      pending.Settle([status = session.status()](Napi::Env settle_env) -> Napi::Value {
        throw ToError(settle_env, status);
      });
      return;
    }
    auto host = std::make_shared<ModelHost>(std::move(session.value()), pool.lanes, pool.max_queue);
    pending.Settle(
        [host](Napi::Env settle_env) -> Napi::Value { return SessionWrap::New(settle_env, host); });
  };
  const Status submitted = state.background().Submit(std::move(task));
  if (!submitted.ok()) {
    pending.Settle(
        [submitted](Napi::Env settle_env) -> Napi::Value { throw ToError(settle_env, submitted); });
  }
  return pending.promise();
}

Result<std::shared_ptr<Session>> CreateOnnx(const OnnxLoad& load) {
  auto engine = onnxruntime::Open(load.library, load.environment);
  if (!engine.ok()) return engine.status();
  return onnxruntime::CreateSession(engine.value(), load.source, load.session, nullptr);
}

Result<std::shared_ptr<Session>> CreateTensorFlow(const TensorFlowLoad& load) {
  auto engine = tensorflow::Open(load.library);
  if (!engine.ok()) return engine.status();
  return tensorflow::CreateSession(engine.value(), load.source, load.session);
}

Napi::Value LoadOnnx(const Napi::CallbackInfo& info) {
  return LoadModel(info.Env(), ReadOnnxLoad(ArgumentObject(info, 0)), CreateOnnx);
}

Napi::Value LoadTensorFlow(const Napi::CallbackInfo& info) {
  return LoadModel(info.Env(), ReadTensorFlowLoad(ArgumentObject(info, 0)), CreateTensorFlow);
}

Result<EngineDescription> Describe(const std::string& name, const std::string& library) {
  auto engine = name == "tensorflow"
                    ? tensorflow::Open(library)
                    : onnxruntime::Open(library, onnxruntime::EnvironmentOptions{});
  if (!engine.ok()) return engine.status();
  return engine.value()->Describe();
}

Napi::Value DescribeEngine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsString()) {
    ThrowInvalidArgument(env, "an engine's name and a library's path");
  }
  const std::string name = info[0].As<Napi::String>();
  const std::string library = info[1].As<Napi::String>();
  const PendingPromise pending(env);
  const Status submitted = AddonState::Of(env).background().Submit([name, library, pending] {
    pending.Settle([description = Describe(name, library)](Napi::Env settle_env) -> Napi::Value {
      ThrowIfError(settle_env, description.status());
      Napi::Object object = Napi::Object::New(settle_env);
      object.Set("name", description.value().name);
      object.Set("version", description.value().version);
      object.Set("path", description.value().path);
      object.Set("providers", WriteStrings(settle_env, description.value().providers));
      object.Set("devices", WriteStrings(settle_env, description.value().devices));
      return object;
    });
  });
  if (!submitted.ok()) {
    pending.Settle(
        [submitted](Napi::Env settle_env) -> Napi::Value { throw ToError(settle_env, submitted); });
  }
  return pending.promise();
}

Napi::Value Alloc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t byte_length = -1;
  if (napi_get_value_int64(env, info[0], &byte_length) != napi_ok || byte_length < 0) {
    ThrowInvalidArgument(env, "a byte length");
  }
  auto memory = AllocateAligned(static_cast<size_t>(byte_length), /*zeroed=*/true);
  if (memory == nullptr) {
    throw ToError(env, {StatusCode::kOutOfMemory,
                        "expected memory for " + std::to_string(byte_length) + " bytes"});
  }
  void* const data = memory.get();
  return ExternalBuffer(env, data, static_cast<size_t>(byte_length), std::move(memory));
}

void Release(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) ThrowInvalidArgument(info.Env(), "an ArrayBuffer");
  auto buffer = info[0].As<Napi::ArrayBuffer>();
  if (!buffer.IsDetached()) buffer.Detach();
}

void SetErrorConstructor(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) ThrowInvalidArgument(info.Env(), "a constructor");
  AddonState::Of(info.Env()).error_constructor = Napi::Persistent(info[0].As<Napi::Function>());
}

Napi::Array DTypeTable(Napi::Env env) {
  Napi::Array table = Napi::Array::New(env);
  for (uint32_t number = 1; number < kDTypeCount; ++number) {
    const DType dtype = *DTypeFromNumber(number);
    Napi::Array row = Napi::Array::New(env, 3);
    row.Set(0u, number);
    row.Set(1u, std::string(DTypeName(dtype)));
    row.Set(2u, DTypeBits(dtype));
    table.Set(number - 1, row);
  }
  return table;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonState(env));
  AddonState::Of(env).session_constructor = Napi::Persistent(SessionWrap::Define(env));
  exports.Set("version", TENON_VERSION);
  exports.Set("dtypes", DTypeTable(env));
  exports.Set("setErrorConstructor", Napi::Function::New(env, SetErrorConstructor));
  exports.Set("cpuQuota", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Number::New(info.Env(), CpuQuota());
              }));
  exports.Set("alloc", Napi::Function::New(env, Alloc));
  exports.Set("release", Napi::Function::New(env, Release));
  exports.Set("describeEngine", Napi::Function::New(env, DescribeEngine));
  exports.Set("loadOnnx", Napi::Function::New(env, LoadOnnx));
  exports.Set("loadTensorFlow", Napi::Function::New(env, LoadTensorFlow));
  return exports;
}

}  // namespace
}  // namespace tenon::addon

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return tenon::addon::Init(env, exports);
}

NODE_API_MODULE(tenon, InitModule)
