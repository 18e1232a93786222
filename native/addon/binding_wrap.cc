#include "addon/binding_wrap.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "addon/errors.h"
#include "addon/session_wrap.h"
#include "addon/state.h"

namespace tenon::addon {
namespace {

using Clock = std::chrono::steady_clock;

Status RunAndNote(BoundRun& bound, ModelHost& host, size_t signature, bool has_options,
                  CancelToken* cancel, Clock::duration* taken = nullptr) {
  const auto started = Clock::now();
  Status status = bound.Run(cancel);
  const auto time = Clock::now() - started;
  host.NoteRun(signature, static_cast<uint64_t>(time / std::chrono::nanoseconds(1)), status,
               !has_options);
  if (taken != nullptr) *taken = time;
  return status;
}

}  // namespace

Napi::Function BindingWrap::Define(Napi::Env env) {
  return DefineClass(env, "NativeBinding", {InstanceMethod("run", &BindingWrap::Run)});
}

Napi::Object BindingWrap::New(Napi::Env env, Napi::Object session, std::unique_ptr<BoundRun> bound,
                              size_t signature, std::vector<Refresh> refreshes, bool has_options) {
  Napi::Object object = AddonState::Of(env).binding_constructor.New({});
  BindingWrap* const wrap = Unwrap(object);
  wrap->session_ = Napi::Persistent(session);
  wrap->session_wrap_ = SessionWrap::Unwrap(session);
  wrap->bound_ = std::move(bound);
  wrap->signature_ = signature;
  wrap->refreshes_ = std::move(refreshes);
  wrap->has_options_ = has_options;
  // A function of its own, because a method has to look for the wrap behind `this`, which
  // costs a tenth of what a tiny model's run does. It keeps the object, and that the wrap.
  Napi::Function run_sync = Napi::Function::New<RunSync>(env, "runSync", wrap);
  run_sync.Set("binding", object);
  object.Set("runSync", run_sync);
  return object;
}

void BindingWrap::ThrowIfBusy(Napi::Env env) const {
  if (busy_) {
    throw ToError(env, {StatusCode::kBindingBusy,
                        "expected one run of a binding at a time, received another one"});
  }
}

void BindingWrap::RefreshFeeds() const {
  for (const Refresh& refresh : refreshes_) refresh.Copy();
}

Napi::Value BindingWrap::Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ModelHost>& host = session_wrap_->OpenHost(env);
  ThrowIfBusy(env);
  RefreshFeeds();
  AddonState& state = AddonState::Of(env);
  if (!has_options_ && state.TakesInline(*host, signature_, session_wrap_->HasNoRuns())) {
    Clock::duration taken;
    const Status status = RunAndNote(*bound_, *host, signature_, has_options_, nullptr, &taken);
    host->stats().inline_runs.fetch_add(1, std::memory_order_relaxed);
    state.NoteInline(taken);
    ThrowIfError(env, status);
    return env.Undefined();
  }
  ModelHost* const runner = host.get();
  SessionWrap::Call call;
  call.ticket = info[0].As<Napi::Number>().Uint32Value();
  call.work = [bound = bound_, runner, signature = signature_,
               has_options = has_options_](CancelToken* cancel) {
    return RunAndNote(*bound, *runner, signature, has_options, cancel);
  };
  call.result = [](Napi::Env settle_env) { return settle_env.Undefined(); };
  call.ended = [this] {
    busy_ = false;
    Unref();
  };
  busy_ = true;
  Ref();
  try {
    return session_wrap_->Submit(env, std::move(call));
  } catch (const Napi::Error&) {
    busy_ = false;
    Unref();
    throw;
  }
}

void BindingWrap::RunSync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BindingWrap& wrap = *static_cast<BindingWrap*>(info.Data());
  const std::shared_ptr<ModelHost>& host = wrap.session_wrap_->OpenHost(env);
  wrap.ThrowIfBusy(env);
  wrap.RefreshFeeds();
  const Status status =
      RunAndNote(*wrap.bound_, *host, wrap.signature_, wrap.has_options_, nullptr);
  if (!status.ok()) throw ToError(env, status);
}

}  // namespace tenon::addon
