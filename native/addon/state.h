#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <set>

#include "core/status.h"
#include "runtime/completion_queue.h"
#include "runtime/executor.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// Everything the addon keeps for one JavaScript environment (the main thread or
// a worker). What an engine keeps is per process and lives in its Library.
//
// All members are used on the environment's own thread, except the completion
// queue and the executor, which are made for others.
class AddonState {
 public:
  explicit AddonState(Napi::Env env);
  AddonState(const AddonState&) = delete;
  AddonState& operator=(const AddonState&) = delete;

  static AddonState& Of(Napi::Env env) { return *env.GetInstanceData<AddonState>(); }

  Napi::FunctionReference error_constructor;
  Napi::FunctionReference session_constructor;

  // Native threads for what is slow but no run: loading, closing, describing.
  Executor& background() { return background_; }

  // Counts a promise as pending, which keeps the process alive until Settle.
  void Await();

  // Any thread: runs `deliver` on the environment's thread, where it settles a
  // promise counted by Await.
  void Complete(std::function<void()> deliver) { completions_.Push(std::move(deliver)); }

  // Open models, so that the end of the environment stops their lanes first.
  void AddHost(const std::shared_ptr<ModelHost>& host) { hosts_.insert(host); }
  // Lets the host go on a background thread: its end waits for running calls.
  // `done` runs there afterwards.
  void ReleaseHost(std::shared_ptr<ModelHost> host, std::function<void()> done);

 private:
  static void OnWake(napi_env env, napi_value, void* context, void*);
  void DeliverAll();
  // Stops every native thread of this environment; called when it ends.
  void Shutdown();

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  size_t pending_ = 0;
  CompletionQueue completions_;
  std::set<std::shared_ptr<ModelHost>> hosts_;
  Executor background_;
};

// A promise that a native thread settles. Made and settled on the environment's
// thread; in between only carried.
class PendingPromise {
 public:
  explicit PendingPromise(Napi::Env env);
  Napi::Promise promise() const { return deferred_->Promise(); }

  // From any thread, once: on the environment's thread resolves with what
  // `result` gives, or rejects with what it throws.
  void Settle(std::function<Napi::Value(Napi::Env)> result) const;

 private:
  AddonState* state_;
  std::shared_ptr<Napi::Promise::Deferred> deferred_;
};

}  // namespace tenon::addon
