#pragma once

#include <napi.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <unordered_set>

#include "addon/exchange.h"
#include "core/status.h"
#include "runtime/completion_queue.h"
#include "runtime/executor.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// A run of this environment that is on a lane or waits for one.
struct InFlight {
  std::shared_ptr<ModelHost> host;
  CancelToken cancel;
  Executor::Ticket queued;
  // It reads memory of the environment, until `left` is set.
  bool borrows = false;
  std::promise<void> left;
  bool dequeued = false;

  // Takes it out of the queue: true, and it will never run. Or else tells it to
  // stop, where its engine can.
  bool Stop() {
    if (dequeued) return false;
    dequeued = host->executor().Remove(queued);
    if (!dequeued) cancel.Cancel();
    return dequeued;
  }
};

// A task on a thread that reads memory of this environment.
struct Borrower {
  Napi::ObjectReference lent;
  Executor* executor = nullptr;
  Executor::Ticket queued;
  std::promise<void> left;
};

// Everything the addon keeps for one JavaScript environment (the main thread or
// a worker). What an engine keeps is per process and lives in its Library;
// native threads belong to hosts and to the process, never to an environment,
// which may therefore end at any moment without waiting for them.
//
// All members are used on the environment's own thread; the completion queue is
// made for others, and shared with them, because they may outlive this.
class AddonState {
 public:
  explicit AddonState(Napi::Env env);
  AddonState(const AddonState&) = delete;
  AddonState& operator=(const AddonState&) = delete;

  static AddonState& Of(Napi::Env env) { return *env.GetInstanceData<AddonState>(); }

  // Native threads for what is slow but no run: loading, closing, describing.
  // The process's own.
  static Executor& Background();
  // Others for what requests and answers take to read and write: neither waits for a
  // load, nor a load for them. The process's own.
  static Executor& Codec();

  Napi::FunctionReference error_constructor;
  Napi::FunctionReference session_constructor;
  Napi::FunctionReference binding_constructor;
  Napi::FunctionReference pool_constructor;

  Exchange exchange;

  // Counts a promise as pending, which keeps the process alive until it settles.
  void Await();
  const std::shared_ptr<CompletionQueue>& completions() const { return completions_; }

  // Runs to stop when the environment ends.
  void Add(const std::shared_ptr<InFlight>& run) { in_flight_.insert(run); }
  void Remove(const std::shared_ptr<InFlight>& run) { in_flight_.erase(run); }

  // Tasks to wait for when the environment ends.
  void Add(const std::shared_ptr<Borrower>& task) { borrowers_.insert(task); }
  // Lets go of what was lent.
  void Remove(const std::shared_ptr<Borrower>& task) {
    task->lent.Reset();
    borrowers_.erase(task);
  }

  // Whether another run may happen on this thread: see kInlineBudget.
  bool MayRunInline();
  // The same without a note that it was asked.
  bool HasInlineTime() const;
  // Whether this run of the model is to happen on this thread: it is short, see ModelHost,
  // and others may. `alone`: none of the model is on its way.
  bool TakesInline(const ModelHost& host, size_t signature, bool alone);
  void NoteInline(std::chrono::steady_clock::duration taken) { inline_time_ += taken; }

  // Whether an output may be handed out over the engine's memory, or a copy is to
  // be made because too much such memory could not be freed: see
  // kUnfinalizedMaxBytes.
  bool MayHandOut(size_t byte_length);
  // It was disposed of, and freed with that.
  void TakeBack(size_t byte_length) { handed_out_ -= std::min(handed_out_, byte_length); }

 private:
  // Until the microtasks that wait now have run nothing else counts as a run that comes
  // alone: see TakesInline. False where JavaScript may no longer run.
  bool NoteAlone();

  static void OnWake(napi_env env, napi_value, void* context, void*);
  static void OnTurn(napi_env env, napi_value, void* context, void*);
  void DeliverAll();
  // The environment or the process ends: what waits never runs, what runs is
  // told to stop.
  void StopRuns();
  // The environment's memory is about to go: waits for those that read it.
  void AwaitBorrowers();
  void Shutdown();

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  // Brings to this thread what is to happen in another turn of its event loop.
  napi_threadsafe_function turn_ = nullptr;
  size_t pending_ = 0;
  std::chrono::steady_clock::duration inline_time_{0};
  // A run that came alone is followed by what else its caller asks for at once.
  bool in_burst_ = false;
  // A promise that is resolved, its `then`, and what it calls: the end of a burst.
  Napi::ObjectReference resolved_;
  Napi::FunctionReference then_;
  Napi::FunctionReference end_burst_;
  // Nothing is delivered before the event loop has turned.
  bool must_turn_ = false;
  // Bytes handed out since the event loop turned.
  size_t handed_out_ = 0;
  bool delivering_ = false;
  std::shared_ptr<CompletionQueue> completions_;
  std::unordered_set<std::shared_ptr<InFlight>> in_flight_;
  std::unordered_set<std::shared_ptr<Borrower>> borrowers_;
};

// A promise that a native thread settles. Made and settled on the environment's
// thread; in between only carried. Where the environment ends first, it is
// dropped unsettled.
class PendingPromise {
 public:
  explicit PendingPromise(Napi::Env env);
  Napi::Promise promise() const { return deferred_->Promise(); }

  // From any thread, once: on the environment's thread resolves with what
  // `result` gives, or rejects with what it throws.
  void Settle(std::function<Napi::Value(Napi::Env)> result) const;
  void Reject(Status status) const;

 private:
  std::shared_ptr<CompletionQueue> completions_;
  std::shared_ptr<Napi::Promise::Deferred> deferred_;
};

}  // namespace tenon::addon
