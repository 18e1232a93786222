#include "addon/configure.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/options.h"
#include "addon/state.h"
#include "engines/onnxruntime/engine.h"
#include "engines/tensorflow/engine.h"
#include "runtime/log_queue.h"

namespace tenon::addon {
namespace {

// The logger of one environment: the function that gets the process's log, and
// the way there. Deleted when the environment ends.
class Logger {
 public:
  explicit Logger(Napi::Env env) : env_(env) {
    env.AddCleanupHook([this] { delete this; });
  }
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  // (callback or null)
  void Set(const Napi::CallbackInfo& info) {
    Stop();
    if (info[0].IsNull()) return;
    if (!info[0].IsFunction()) ThrowInvalidArgument(info.Env(), "a function or null");
    const napi_status status = napi_create_threadsafe_function(
        env_, info[0], nullptr, Napi::String::New(env_, "tenon log"), 0, 1, nullptr, nullptr,
        nullptr, Deliver, &wake_);
    if (status != napi_ok) throw Napi::Error::New(env_);
    // Hooks run last added first: this one before the thread-safe function's own,
    // so no thread of the engine ever calls a function that is gone.
    napi_add_env_cleanup_hook(env_, OnEnd, this);
    // A log keeps no process alive.
    napi_unref_threadsafe_function(env_, wake_);
    listener_ = std::make_shared<LogQueue::Listener>(
        [wake = wake_] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); });
    LogQueue::Get().Listen(listener_);
  }

 private:
  void Stop() {
    if (wake_ == nullptr) return;
    LogQueue::Get().Unlisten(listener_);
    listener_ = nullptr;
    napi_remove_env_cleanup_hook(env_, OnEnd, this);
    napi_release_threadsafe_function(std::exchange(wake_, nullptr), napi_tsfn_abort);
  }

  static void OnEnd(void* logger) { static_cast<Logger*>(logger)->Stop(); }

  static void Deliver(napi_env raw_env, napi_value callback, void*, void*) {
    // Without an environment the function is being torn down.
    if (raw_env == nullptr || callback == nullptr) return;
    const Napi::Env env(raw_env);
    const Napi::HandleScope scope(env);
    const LogQueue::Batch batch = LogQueue::Get().Drain();
    Napi::Array records = Napi::Array::New(env, batch.records.size());
    for (uint32_t i = 0; i < batch.records.size(); ++i) {
      const LogRecord& record = batch.records[i];
      Napi::Array fields = Napi::Array::New(env, 5);
      fields.Set(0u, record.severity);
      fields.Set(1u, record.category);
      fields.Set(2u, record.log_id);
      fields.Set(3u, record.location);
      fields.Set(4u, record.message);
      records.Set(i, fields);
    }
    try {
      Napi::Function(env, callback)
          .Call({records, Napi::Number::New(env, static_cast<double>(batch.dropped))});
    } catch (const Napi::Error& error) {
      // As from any other callback: an uncaught exception.
      napi_fatal_exception(env, error.Value());
    }
  }

  const Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::shared_ptr<LogQueue::Listener> listener_;
};

void Configure(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) ThrowInvalidArgument(env, "an options object");
  const ProcessConfiguration given = ReadConfigure(info[0].As<Napi::Object>());
  ThrowIfError(env, onnxruntime::Configure(given.onnxruntime));
  ThrowIfError(env, tensorflow::Configure(given.tensorflow));
}

Napi::Array WritePairs(Napi::Env env,
                       const std::vector<std::pair<std::string, std::string>>& pairs) {
  Napi::Array array = Napi::Array::New(env, pairs.size());
  for (uint32_t i = 0; i < pairs.size(); ++i) {
    array.Set(i, WriteStrings(env, {pairs[i].first, pairs[i].second}));
  }
  return array;
}

Napi::Value WriteDevices(Napi::Env env, const std::vector<onnxruntime::Device>& devices) {
  Napi::Array array = Napi::Array::New(env, devices.size());
  for (uint32_t i = 0; i < devices.size(); ++i) {
    const onnxruntime::Device& device = devices[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("provider", device.provider);
    object.Set("providerVendor", device.provider_vendor);
    object.Set("type", device.type);
    object.Set("vendor", device.vendor);
    object.Set("vendorId", device.vendor_id);
    object.Set("deviceId", device.device_id);
    object.Set("metadata", WritePairs(env, device.metadata));
    object.Set("options", WritePairs(env, device.options));
    array.Set(i, object);
  }
  return array;
}

Result<std::vector<onnxruntime::Device>> Devices(const std::string& library) {
  auto engine = onnxruntime::Open(library);
  if (!engine.ok()) return engine.status();
  return onnxruntime::ListDevices(engine.value());
}

Napi::Value OnnxDevices(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) ThrowInvalidArgument(info.Env(), "a library's path");
  const std::string library = info[0].As<Napi::String>();
  const PendingPromise pending(info.Env());
  const auto submitted = AddonState::Background().Submit([library, pending] {
    pending.Settle([devices = Devices(library)](Napi::Env env) -> Napi::Value {
      ThrowIfError(env, devices.status());
      return WriteDevices(env, devices.value());
    });
  });
  if (!submitted.ok()) pending.Reject(submitted.status());
  return pending.promise();
}

}  // namespace

void DefineConfigure(Napi::Env env, Napi::Object exports) {
  exports.Set("configure", Napi::Function::New(env, Configure));
  exports.Set("onnxDevices", Napi::Function::New(env, OnnxDevices));
  auto* const logger = new Logger(env);
  exports.Set("setLogger", Napi::Function::New(env, [logger](const Napi::CallbackInfo& info) {
                logger->Set(info);
              }));
}

}  // namespace tenon::addon
