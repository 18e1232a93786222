// What Node-API costs by itself: the floor below every call of an addon.
//   settle()                   a promise, made and settled
//   roundTrip()                a promise, settled by way of a sleeping thread
//   load(library, model)       has that thread run the ONNX model from now on, by the C call,
//                              before it has the promise settled
//   copyOutput(byteLength)     an output as the addon hands out small ones …
//   externalOutput(byteLength) … and large ones, see native/addon/values.cc

#include <node_api.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "model.h"
#include "platform/aligned_memory.h"
#include "runtime/memory_registry.h"

namespace tenon::bench {
namespace {

void Check(napi_status status) {
  if (status != napi_ok) napi_fatal_error("bench", NAPI_AUTO_LENGTH, "Node-API failed", 15);
}

napi_value Undefined(napi_env env) {
  napi_value undefined;
  Check(napi_get_undefined(env, &undefined));
  return undefined;
}

// A thread that sleeps until there is a promise to settle, and has it settled
// on the JavaScript thread.
class Lane {
 public:
  static Lane& Get(napi_env env) {
    // Leaked: the thread sleeps until the process ends.
    static Lane& lane = *new Lane(env);
    return lane;
  }

  // Before the first Submit.
  void Load(const OnnxOptions& options) {
    model_ = LoadOnnx(options);
    call_ = model_->Prepare("run");
  }

  void Submit(napi_deferred deferred) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(deferred);
    }
    wake_.notify_one();
  }

 private:
  explicit Lane(napi_env env) {
    napi_value name;
    Check(napi_create_string_utf8(env, "bench", NAPI_AUTO_LENGTH, &name));
    Check(napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                          nullptr, Settle, &settle_));
    std::thread([this] { Work(); }).detach();
  }

  static void Settle(napi_env env, napi_value, void*, void* deferred) {
    if (env == nullptr) return;
    Check(napi_resolve_deferred(env, static_cast<napi_deferred>(deferred), Undefined(env)));
  }

  void Work() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty(); });
      napi_deferred deferred = queue_.front();
      queue_.pop_front();
      lock.unlock();
      if (call_ != nullptr) call_->Run();
      napi_call_threadsafe_function(settle_, deferred, napi_tsfn_nonblocking);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<napi_deferred> queue_;
  napi_threadsafe_function settle_ = nullptr;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Call> call_;
};

napi_value RoundTrip(napi_env env, napi_callback_info) {
  napi_deferred deferred;
  napi_value promise;
  Check(napi_create_promise(env, &deferred, &promise));
  Lane::Get(env).Submit(deferred);
  return promise;
}

std::string ReadString(napi_env env, napi_value value) {
  size_t length = 0;
  Check(napi_get_value_string_utf8(env, value, nullptr, 0, &length));
  std::string text(length, '\0');
  Check(napi_get_value_string_utf8(env, value, text.data(), length + 1, &length));
  return text;
}

napi_value Load(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  Check(napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr));
  OnnxOptions options;
  options.library = ReadString(env, arguments[0]);
  options.path = ReadString(env, arguments[1]);
  try {
    Lane::Get(env).Load(options);
  } catch (const std::exception& error) {
    Check(napi_throw_error(env, nullptr, error.what()));
  }
  return nullptr;
}

napi_value Settle(napi_env env, napi_callback_info) {
  napi_deferred deferred;
  napi_value promise;
  Check(napi_create_promise(env, &deferred, &promise));
  Check(napi_resolve_deferred(env, deferred, Undefined(env)));
  return promise;
}

// What a kernel leaves: memory of the engine's own that was just written.
std::shared_ptr<void> Produce(napi_env env, napi_callback_info info, size_t* byte_length) {
  size_t count = 1;
  napi_value argument;
  double length = 0;
  Check(napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr));
  Check(napi_get_value_double(env, argument, &length));
  *byte_length = static_cast<size_t>(length);
  std::shared_ptr<void> memory = AllocateAligned(*byte_length);
  if (memory == nullptr) std::abort();
  std::memset(memory.get(), 1, *byte_length);
  return memory;
}

napi_value CopyOutput(napi_env env, napi_callback_info info) {
  size_t byte_length = 0;
  const std::shared_ptr<void> memory = Produce(env, info, &byte_length);
  void* data = nullptr;
  napi_value buffer;
  Check(napi_create_arraybuffer(env, byte_length, &data, &buffer));
  std::memcpy(data, memory.get(), byte_length);
  return buffer;
}

napi_value ExternalOutput(napi_env env, napi_callback_info info) {
  size_t byte_length = 0;
  std::shared_ptr<void> memory = Produce(env, info, &byte_length);
  void* const data = memory.get();
  const MemoryRegistry::Number number =
      MemoryRegistry::Get().Add(data, byte_length, std::move(memory));
  napi_value buffer;
  Check(napi_create_external_arraybuffer(
      env, data, byte_length,
      [](napi_env, void* finalized, void* hint) {
        MemoryRegistry::Get().Remove(finalized, reinterpret_cast<MemoryRegistry::Number>(hint));
      },
      reinterpret_cast<void*>(number), &buffer));
  return buffer;
}

}  // namespace
}  // namespace tenon::bench

NAPI_MODULE_INIT() {
  using namespace tenon::bench;
  const napi_property_descriptor functions[] = {
      {"settle", nullptr, Settle, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"roundTrip", nullptr, RoundTrip, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"load", nullptr, Load, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"copyOutput", nullptr, CopyOutput, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"externalOutput", nullptr, ExternalOutput, nullptr, nullptr, nullptr, napi_default, nullptr},
  };
  Check(napi_define_properties(env, exports, std::size(functions), functions));
  return exports;
}
