#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "addon/exchange.h"
#include "addon/request.h"
#include "addon/state.h"
#include "runtime/bound_calls.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// The NativeSession of lib/native/types.ts: a share of one loaded model in one
// environment.
class SessionWrap : public Napi::ObjectWrap<SessionWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  static Napi::Object New(Napi::Env env, std::shared_ptr<ModelHost> host);
  // Another share of the model that Share gave this number; throws
  // ERR_TENON_MODEL_CLOSED where it is gone.
  static Napi::Object Attach(Napi::Env env, uint32_t number);

  explicit SessionWrap(const Napi::CallbackInfo& info);
  ~SessionWrap() override;

  // Throws ERR_TENON_MODEL_CLOSED once Close was called.
  const std::shared_ptr<ModelHost>& OpenHost(Napi::Env env) const;

  // Whether all runs of this environment have ended and their callers been told.
  bool HasNoRuns() const { return jobs_.empty(); }

  // Run and RunSync of the request in the exchange's block. Undefined where the outputs
  // are in the block, too.
  Napi::Value RunExchanged(const Napi::CallbackInfo& info, Exchange& exchange);
  Napi::Value RunExchangedSync(const Napi::CallbackInfo& info, Exchange& exchange);

  // A call that a lane is to make.
  struct Call {
    uint32_t ticket = 0;
    int priority = 0;
    size_t runs = 1;  // how many runs of callers it is
    // On the lane. The token says when to stop.
    std::function<Status(CancelToken*)> work;
    // On the environment's thread: what a call that went well gives.
    std::function<Napi::Value(Napi::Env)> result;
    // Likewise, whatever became of the call; may be empty.
    std::function<void()> ended;
    // Where buffers are borrowed, what holds them until the promise settles. Dies
    // on the environment's thread.
    Napi::ObjectReference lent;
  };
  // Queues it; the promise settles with its result.
  Napi::Value Submit(Napi::Env env, Call call);

 private:
  struct Job;

  Napi::Value Run(const Napi::CallbackInfo& info);
  Napi::Value RunBatch(const Napi::CallbackInfo& info);
  Napi::Value RunSync(const Napi::CallbackInfo& info);
  Napi::Value Bind(const Napi::CallbackInfo& info);
  Napi::Value PrepareJson(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  void CancelAll(const Napi::CallbackInfo& info);
  Napi::Value Stats(const Napi::CallbackInfo& info);
  Napi::Value Load(const Napi::CallbackInfo& info);
  Napi::Value Share(const Napi::CallbackInfo& info);
  Napi::Value EndProfiling(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  Napi::Value RunInPlace(Napi::Env env, Exchange& exchange, AddonState* state);
  Napi::Value RunOnLane(Napi::Env env, RunRequest request, const RunSettings& settings,
                        Napi::ObjectReference lent);
  // Binds a request that was read from the block and has run, so that the next one of
  // the key is a bound run.
  void BindExchanged(Exchange& exchange);

  // Any thread: has the job's promise settled on the environment's. Only there, where
  // nothing is delivered once it has ended, is `wrap` known to be there still.
  static void Settle(SessionWrap* wrap, const std::shared_ptr<Job>& job);
  void Stop(const std::shared_ptr<Job>& job);
  void EndRun(const std::shared_ptr<Job>& job);
  void Release();
  void Unshare();

  std::shared_ptr<ModelHost> host_;
  // Runs under way or waiting, by a number of ours; `tickets_` finds those that
  // their caller may cancel, by the number it gave them.
  std::unordered_map<uint64_t, std::shared_ptr<Job>> jobs_;
  std::unordered_map<uint32_t, uint64_t> tickets_;
  uint64_t submitted_ = 0;
  uint32_t share_ = 0;
  // By which requests in the block name this, and who knows that.
  const std::shared_ptr<Exchange::Sessions> open_sessions_;
  const uint32_t number_;
  BoundCalls bound_calls_;
  // Set by Close: resolved once no run is under way and this share is gone.
  std::unique_ptr<PendingPromise> closing_;
};

}  // namespace tenon::addon
