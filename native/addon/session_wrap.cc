#include "addon/session_wrap.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/options.h"
#include "addon/state.h"
#include "addon/values.h"

namespace tenon::addon {
namespace {

// Inside the class, Value would be Napi::Reference's.
using Outputs = Result<std::vector<Value>>;

std::vector<size_t> ReadIndices(Napi::Env env, Napi::Value value) {
  if (!value.IsArray()) ThrowInvalidArgument(env, "an array of indices");
  const auto array = value.As<Napi::Array>();
  std::vector<size_t> indices(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    uint32_t index = 0;
    if (napi_get_value_uint32(env, array.Get(i), &index) != napi_ok) {
      ThrowInvalidArgument(env, "an array of indices");
    }
    indices[i] = index;
  }
  return indices;
}

// (signature, inputs, feeds, outputs, …), as run and runSync take them.
RunRequest ReadRequest(const Napi::CallbackInfo& info, FeedMemory memory) {
  const Napi::Env env = info.Env();
  RunRequest request;
  uint32_t signature = 0;
  if (napi_get_value_uint32(env, info[0], &signature) != napi_ok) {
    ThrowInvalidArgument(env, "the index of a signature");
  }
  request.signature = signature;
  request.inputs = ReadIndices(env, info[1]);
  if (!info[2].IsArray()) ThrowInvalidArgument(env, "an array of feeds");
  const auto feeds = info[2].As<Napi::Array>();
  request.feeds.reserve(feeds.Length());
  for (uint32_t i = 0; i < feeds.Length(); ++i) {
    Napi::HandleScope scope(env);
    request.feeds.push_back(ReadValue(feeds.Get(i), memory));
  }
  request.outputs = ReadIndices(env, info[3]);
  return request;
}

Napi::Value WriteOutputs(Napi::Env env, const Outputs& outputs) {
  ThrowIfError(env, outputs.status());
  Napi::Array array = Napi::Array::New(env, outputs.value().size());
  for (uint32_t i = 0; i < outputs.value().size(); ++i) {
    array.Set(i, WriteValue(env, outputs.value()[i]));
  }
  return array;
}

}  // namespace

// One asynchronous run, from the call to its promise.
struct SessionWrap::Job {
  RunRequest request;
  std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();
  std::optional<Outputs> outputs;
};

class PendingClose {
 public:
  explicit PendingClose(Napi::Env env) : promise(env) {}
  PendingPromise promise;
};

Napi::Function SessionWrap::Define(Napi::Env env) {
  return DefineClass(
      env, "NativeSession",
      {InstanceMethod("run", &SessionWrap::Run), InstanceMethod("runSync", &SessionWrap::RunSync),
       InstanceMethod("cancel", &SessionWrap::Cancel),
       InstanceMethod("close", &SessionWrap::Close)});
}

Napi::Object SessionWrap::New(Napi::Env env, std::shared_ptr<ModelHost> host) {
  auto external = Napi::External<std::shared_ptr<ModelHost>>::New(env, &host);
  return AddonState::Of(env).session_constructor.New({external});
}

SessionWrap::SessionWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) ThrowInvalidArgument(info.Env(), "a session made by a load");
  host_ = std::move(*info[0].As<Napi::External<std::shared_ptr<ModelHost>>>().Data());
  AddonState::Of(info.Env()).AddHost(host_);
  info.This().As<Napi::Object>().Set("info", WriteModelInfo(info.Env(), host_->info()));
}

SessionWrap::~SessionWrap() {
  // Collected without close. A run under way holds a reference, so there is none.
  if (host_ != nullptr) AddonState::Of(Env()).ReleaseHost(std::move(host_), [] {});
}

const std::shared_ptr<ModelHost>& SessionWrap::OpenHost(Napi::Env env) const {
  if (host_ == nullptr || closing_ != nullptr) {
    throw ToError(env, {StatusCode::kModelClosed, "expected an open model, received a closed one"});
  }
  return host_;
}

Napi::Value SessionWrap::Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ModelHost>& host = OpenHost(env);
  if (running_ >= host->capacity()) {
    throw ToError(env, {StatusCode::kQueueFull,
                        "expected at most " + std::to_string(host->capacity()) +
                            " runs of the model at a time (pool.lanes and pool.maxQueue), "
                            "received one more"});
  }
  auto job = std::make_shared<Job>();
  job->request = ReadRequest(info, FeedMemory::kOwned);
  const uint32_t ticket = info[4].As<Napi::Number>().Uint32Value();
  // Also where no caller can cancel: the end of the environment stops every run.
  job->request.cancel = job->cancel.get();

  // The host outlives the task: the wrap holds it while running_ is not 0, and
  // the end of the environment joins the lanes before it lets go.
  ModelHost* const runner = host.get();
  const PendingPromise pending(env);
  const Status submitted = host->Submit(job->cancel, [this, job, runner, ticket, pending] {
    job->outputs.emplace(job->cancel->cancelled()
                             ? Outputs(Status(StatusCode::kAborted, "the run was stopped"))
                             : runner->Run(job->request));
    // Feeds go here, not on the event loop.
    job->request.feeds.clear();
    pending.Settle([this, job, ticket](Napi::Env settle_env) {
      EndRun(ticket);
      return WriteOutputs(settle_env, *job->outputs);
    });
  });
  if (!submitted.ok()) {
    pending.Settle(
        [submitted](Napi::Env settle_env) -> Napi::Value { throw ToError(settle_env, submitted); });
    return pending.promise();
  }
  if (ticket != 0) tickets_[ticket] = job->cancel;
  if (running_++ == 0) Ref();
  return pending.promise();
}

Napi::Value SessionWrap::RunSync(const Napi::CallbackInfo& info) {
  const std::shared_ptr<ModelHost>& host = OpenHost(info.Env());
  const RunRequest request = ReadRequest(info, FeedMemory::kBorrowed);
  return WriteOutputs(info.Env(), host->Run(request));
}

void SessionWrap::Cancel(const Napi::CallbackInfo& info) {
  const auto ticket = tickets_.find(info[0].As<Napi::Number>().Uint32Value());
  if (ticket != tickets_.end()) ticket->second->Cancel();
}

Napi::Value SessionWrap::Close(const Napi::CallbackInfo& info) {
  OpenHost(info.Env());
  closing_ = std::make_unique<PendingClose>(info.Env());
  const Napi::Promise promise = closing_->promise.promise();
  Ref();
  if (running_ == 0) Release();
  return promise;
}

void SessionWrap::EndRun(uint32_t ticket) {
  if (ticket != 0) tickets_.erase(ticket);
  if (--running_ > 0) return;
  if (closing_ != nullptr) Release();
  Unref();
}

void SessionWrap::Release() {
  const PendingPromise pending = closing_->promise;
  AddonState::Of(Env()).ReleaseHost(std::move(host_), [pending] {
    pending.Settle([](Napi::Env env) { return env.Undefined(); });
  });
  Unref();
}

}  // namespace tenon::addon
