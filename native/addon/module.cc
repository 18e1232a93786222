#include <napi.h>

#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "addon/binding_wrap.h"
#include "addon/configure.h"
#include "addon/errors.h"
#include "addon/json_codec.h"
#include "addon/options.h"
#include "addon/pool_wrap.h"
#include "addon/session_wrap.h"
#include "addon/state.h"
#include "addon/values.h"
#include "platform/aligned_memory.h"
#include "platform/cpu_quota.h"
#include "platform/descriptors.h"
#include "platform/niceness.h"
#include "runtime/memory_registry.h"

namespace tenon::addon {
namespace {

Napi::Object ArgumentObject(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsObject()) ThrowInvalidArgument(info.Env(), "an options object");
  return info[index].As<Napi::Object>();
}

// What a load is stopped by, where its engine can.
using Cancel = std::shared_ptr<CancelToken>;

Napi::Value CreateCancel(const Napi::CallbackInfo& info) {
  return Napi::External<Cancel>::New(info.Env(), new Cancel(std::make_shared<CancelToken>()),
                                     [](Napi::Env, Cancel* cancel) { delete cancel; });
}

Cancel ReadCancel(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsExternal()) ThrowInvalidArgument(info.Env(), "what createCancel gave");
  return *info[index].As<Napi::External<Cancel>>().Data();
}

void CancelLoad(const Napi::CallbackInfo& info) { ReadCancel(info, 0)->Cancel(); }

// Calls `create` on a thread of its own, of which the engine's threads inherit that they
// give way: the thread of a caller would have to stay so. Without a thread they do not.
template <typename Create>
void CallGivingWay(int niceness, const Create& create) {
  if (niceness == 0) return create();
  std::thread thread;
  try {
    thread = std::thread([niceness, &create] {
      GiveWay(niceness);
      create();
    });
  } catch (const std::system_error&) {
    return create();
  }
  thread.join();
}

// Loads on a background thread; `load` holds everything it needs.
template <typename Load>
Napi::Value LoadModel(Napi::Env env, Load load, bool allow_inline, Cancel cancel,
                      Result<std::shared_ptr<Session>> (*create)(const Load&, CancelToken*)) {
  const PendingPromise pending(env);
  const HostOptions host_options{.lanes = load.pool.lanes,
                                 .pool = load.pool.shared,
                                 .weight = load.pool.weight,
                                 .spin = load.pool.spin,
                                 .niceness = load.pool.niceness,
                                 .max_queue = load.pool.max_queue,
                                 .allow_inline = allow_inline};
  auto task = [load = std::make_shared<Load>(std::move(load)), cancel, create, host_options,
               pending] {
    Result<std::shared_ptr<Session>> session{std::shared_ptr<Session>()};
    CallGivingWay(host_options.niceness, [&] { session = create(*load, cancel.get()); });
    if (!session.ok()) {
      pending.Reject(session.status());
      return;
    }
    pending.Settle(
        [host = ModelHost::Create(std::move(session.value()), host_options)](
            Napi::Env settle_env) -> Napi::Value { return SessionWrap::New(settle_env, host); });
  };
  const auto submitted = AddonState::Background().Submit(std::move(task));
  if (!submitted.ok()) pending.Reject(submitted.status());
  return pending.promise();
}

Result<std::shared_ptr<Session>> CreateOnnx(const OnnxLoad& load, CancelToken* cancel) {
  auto engine = onnxruntime::Open(load.library);
  if (!engine.ok()) return engine.status();
  return onnxruntime::CreateSession(engine.value(), load.source, load.session, cancel);
}

Result<std::shared_ptr<Session>> CreateTensorFlow(const TensorFlowLoad& load, CancelToken*) {
  auto engine = tensorflow::Open(load.library);
  if (!engine.ok()) return engine.status();
  return tensorflow::CreateSession(engine.value(), load.source, load.session);
}

bool AllowInline(Napi::Object options) { return options.Get("allowInline").ToBoolean(); }

Napi::Value LoadOnnx(const Napi::CallbackInfo& info) {
  const Napi::Object options = ArgumentObject(info, 0);
  return LoadModel(info.Env(), ReadOnnxLoad(options), AllowInline(options), ReadCancel(info, 1),
                   CreateOnnx);
}

Napi::Value LoadTensorFlow(const Napi::CallbackInfo& info) {
  const Napi::Object options = ArgumentObject(info, 0);
  return LoadModel(info.Env(), ReadTensorFlowLoad(options), AllowInline(options),
                   ReadCancel(info, 1), CreateTensorFlow);
}

Result<EngineDescription> Describe(const std::string& name, const std::string& library) {
  auto engine = name == "tensorflow" ? tensorflow::Open(library) : onnxruntime::Open(library);
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
  const auto submitted = AddonState::Background().Submit([name, library, pending] {
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
  if (!submitted.ok()) pending.Reject(submitted.status());
  return pending.promise();
}

// Copies a tensor that stays in its engine to host memory, on a thread.
Napi::Value ToHost(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) ThrowInvalidArgument(info.Env(), "the handle of an engine tensor");
  const PendingPromise pending(info.Env());
  const auto submitted =
      AddonState::Background().Submit([tensor = ReadEngineTensor(info[0]), pending] {
        pending.Settle([copy = tensor->ToHost()](Napi::Env settle_env) -> Napi::Value {
          ThrowIfError(settle_env, copy.status());
          ByteCounts counts;
          return WriteValue(settle_env, Value::Of(copy.value()), &counts);
        });
      });
  if (!submitted.ok()) pending.Reject(submitted.status());
  return pending.promise();
}

void ReleaseTensor(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) ThrowInvalidArgument(info.Env(), "the handle of an engine tensor");
  ReleaseEngineTensor(info[0]);
}

Napi::Value Attach(const Napi::CallbackInfo& info) {
  return SessionWrap::Attach(info.Env(), info[0].As<Napi::Number>().Uint32Value());
}

// Memory of Tenon's own that JavaScript holds, in the whole process.
Napi::Value Memory(const Napi::CallbackInfo& info) {
  const MemoryRegistry::Totals totals = MemoryRegistry::Get().totals();
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("buffers", static_cast<double>(totals.count));
  object.Set("byteLength", static_cast<double>(totals.byte_length));
  return object;
}

// Whether an ArrayBuffer is over memory of Tenon's own.
Napi::Value Owns(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) return Napi::Boolean::New(info.Env(), false);
  void* const data = info[0].As<Napi::ArrayBuffer>().Data();
  const bool owned = data != nullptr && MemoryRegistry::Get().Find(data) != nullptr;
  return Napi::Boolean::New(info.Env(), owned);
}

// (bytes, whether they may hold anything)
Napi::Value Alloc(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t byte_length = -1;
  if (napi_get_value_int64(env, info[0], &byte_length) != napi_ok || byte_length < 0) {
    ThrowInvalidArgument(env, "a byte length");
  }
  auto memory = AllocateAligned(static_cast<size_t>(byte_length), /*zeroed=*/!info[1].ToBoolean());
  if (memory == nullptr) {
    throw ToError(env, {StatusCode::kOutOfMemory,
                        "expected memory for " + std::to_string(byte_length) + " bytes"});
  }
  void* const data = memory.get();
  return ExternalBuffer(env, data, static_cast<size_t>(byte_length), std::move(memory));
}

void Release(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) ThrowInvalidArgument(info.Env(), "an ArrayBuffer");
  ReleaseBuffer(info[0].As<Napi::ArrayBuffer>());
}

// Negative for an error, as the platform layer has it.
Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  int32_t descriptor = -1;
  if (napi_get_value_int32(info.Env(), info[0], &descriptor) != napi_ok) {
    ThrowInvalidArgument(info.Env(), "a descriptor");
  }
  return Napi::Number::New(info.Env(), DuplicateDescriptor(descriptor));
}

Napi::Value GetExchange(const Napi::CallbackInfo& info) {
  return AddonState::Of(info.Env()).exchange.Describe(info.Env());
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
  AddonState::Of(env).binding_constructor = Napi::Persistent(BindingWrap::Define(env));
  AddonState::Of(env).pool_constructor = Napi::Persistent(PoolWrap::Define(env));
  exports.Set("version", TENON_VERSION);
  exports.Set("dtypes", DTypeTable(env));
  exports.Set("setErrorConstructor", Napi::Function::New(env, SetErrorConstructor));
  exports.Set("cpuQuota", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::Number::New(info.Env(), CpuQuota());
              }));
  exports.Set("duplicateDescriptor", Napi::Function::New(env, Duplicate));
  DefineConfigure(env, exports);
  DefineJsonCodec(env, exports);
  exports.Set("alloc", Napi::Function::New(env, Alloc));
  exports.Set("release", Napi::Function::New(env, Release));
  exports.Set("owns", Napi::Function::New(env, Owns));
  exports.Set("exchange", Napi::Function::New(env, GetExchange));
  exports.Set("describeEngine", Napi::Function::New(env, DescribeEngine));
  exports.Set("toHost", Napi::Function::New(env, ToHost));
  exports.Set("releaseEngineTensor", Napi::Function::New(env, ReleaseTensor));
  exports.Set("createPool", Napi::Function::New(env, PoolWrap::Create));
  exports.Set("attach", Napi::Function::New(env, Attach));
  exports.Set("memory", Napi::Function::New(env, Memory));
  exports.Set("createCancel", Napi::Function::New(env, CreateCancel));
  exports.Set("cancelLoad", Napi::Function::New(env, CancelLoad));
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
