#include "addon/state.h"

#include <utility>

#include "addon/errors.h"

namespace tenon::addon {
namespace {

// Loads of different models may overlap; more at once than this would only
// fight for the same cores and disk.
constexpr size_t kBackgroundLanes = 4;
constexpr size_t kBackgroundQueue = 1 << 16;

}  // namespace

AddonState::AddonState(Napi::Env env)
    : env_(env),
      completions_(
          [this] { napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking); }),
      background_(kBackgroundLanes, kBackgroundQueue) {
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "tenon"), 0, 1,
                                      nullptr, nullptr, this, OnWake, &wake_);
  if (status != napi_ok) throw Napi::Error::New(env);
  // Only pending promises keep the process alive, see Await.
  napi_unref_threadsafe_function(env, wake_);
  // Hooks run last added first: this one before the thread-safe function's own,
  // so no lane ever calls a function that is gone.
  env.AddCleanupHook([this] { Shutdown(); });
}

void AddonState::Await() {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
}

void AddonState::ReleaseHost(std::shared_ptr<ModelHost> host, std::function<void()> done) {
  hosts_.erase(host);
  auto release = [host, done] {
    host->Shutdown();
    done();
  };
  host.reset();
  if (!background_.Submit(release).ok()) release();
}

void AddonState::OnWake(napi_env env, napi_value, void* context, void*) {
  // Without an environment the function is being torn down, and nobody waits any more.
  if (env != nullptr) static_cast<AddonState*>(context)->DeliverAll();
}

void AddonState::DeliverAll() {
  for (CompletionQueue::Completion& deliver : completions_.Drain()) {
    Napi::HandleScope scope(env_);
    deliver();
    if (--pending_ == 0) napi_unref_threadsafe_function(env_, wake_);
  }
}

void AddonState::Shutdown() {
  completions_.Close();
  for (const std::shared_ptr<ModelHost>& host : hosts_) host->Shutdown();
  hosts_.clear();
  background_.Shutdown();
}

PendingPromise::PendingPromise(Napi::Env env)
    : state_(&AddonState::Of(env)),
      deferred_(std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env))) {
  state_->Await();
}

void PendingPromise::Settle(std::function<Napi::Value(Napi::Env)> result) const {
  state_->Complete([deferred = deferred_, result = std::move(result)] {
    try {
      deferred->Resolve(result(deferred->Env()));
    } catch (const Napi::Error& error) {
      deferred->Reject(error.Value());
    }
  });
}

}  // namespace tenon::addon
