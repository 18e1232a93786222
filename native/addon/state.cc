#include "addon/state.h"

#include <utility>

#include "addon/errors.h"
#include "platform/cpu_quota.h"
#include "runtime/exit_guard.h"

namespace tenon::addon {
namespace {

// Loads and closes that may overlap. A thread starts when all others are busy, so
// that models which are slow to load keep no other from loading or from its end;
// who would have few at the same time asks for few.
constexpr size_t kBackgroundLanes = 16;
constexpr size_t kBackgroundQueue = 1 << 16;
// Each holds the body of a request. A server bounds its requests long before.
constexpr size_t kCodecQueue = 1 << 12;
// More than lanes of models have by default: what they read must not make the loop wait.
constexpr int kCodecNiceness = 10;

// Runs on the calling thread settle without a turn of the event loop, so a
// caller who awaits one after another would keep timers and sockets waiting.
// After this much of it a run goes to a lane, and its result comes in another turn.
constexpr std::chrono::microseconds kInlineBudget{500};

// A caller that makes one run after another without letting the event loop turn
// (runSync) also keeps Node from freeing external memory that was collected:
// its finalizers wait for a turn. After this much of it outputs are copied into
// ordinary buffers, which the garbage collector frees by itself.
constexpr size_t kUnfinalizedMaxBytes = size_t{256} << 20;

}  // namespace

AddonState::AddonState(Napi::Env env) : env_(env) {
  ExitGuard::Watch();
  const auto make = [&](napi_threadsafe_function_call_js call, napi_threadsafe_function* made) {
    const napi_status status =
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "tenon"), 0,
                                        1, nullptr, nullptr, this, call, made);
    if (status != napi_ok) throw Napi::Error::New(env);
  };
  // In this order: a turn of the event loop calls what is waiting in the order in which
  // it was made, so that a turn asked for by a wake-up comes with the next.
  make(OnTurn, &turn_);
  make(OnWake, &wake_);
  completions_ = std::make_shared<CompletionQueue>(
      [wake = wake_] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); });
  // Only pending promises keep the process alive, see Await.
  napi_unref_threadsafe_function(env, turn_);
  napi_unref_threadsafe_function(env, wake_);
  // Hooks run last added first: this one before the thread-safe function's own,
  // so nobody ever calls a function that is gone.
  env.AddCleanupHook([this] { Shutdown(); });
  // process.exit() runs no hook of the main thread's environment, only this.
  const Napi::Value process = env.Global().Get("process");
  if (!process.IsObject()) return;
  const Napi::Value on = process.As<Napi::Object>().Get("on");
  if (!on.IsFunction()) return;
  on.As<Napi::Function>().Call(
      process,
      {Napi::String::New(env, "exit"), Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
         AddonState::Of(info.Env()).StopRuns();
         ExitGuard::Renew();
       })});
}

Executor& AddonState::Background() {
  // Never destroyed: a load may be under way when the process exits.
  static Executor& background = *new Executor(kBackgroundLanes, kBackgroundQueue);
  return background;
}

Executor& AddonState::Codec() {
  // Never destroyed, as the other.
  static Executor& codec =
      *new Executor(LanePool::Create({.lanes = static_cast<size_t>(std::max(1, CpuQuota())),
                                      .niceness = kCodecNiceness}),
                    kCodecQueue);
  return codec;
}

void AddonState::Await() {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
}

bool AddonState::HasInlineTime() const { return inline_time_ < kInlineBudget; }

bool AddonState::MayRunInline() {
  if (HasInlineTime()) return true;
  inline_time_ = std::chrono::steady_clock::duration::zero();
  must_turn_ = true;
  return false;
}

bool AddonState::TakesInline(const ModelHost& host, size_t signature, bool alone) {
  if (host.RunsInline(signature)) return MayRunInline();
  // Of several at once (Promise.all) the first would look alone, too, and so each of them
  // where they run one after the other: those that come before the first one's caller has
  // got its result are no longer alone.
  return alone && !in_burst_ && host.RunsInlineAlone(signature) && MayRunInline() && NoteAlone();
}

bool AddonState::NoteAlone() {
  try {
    if (then_.IsEmpty()) {
      const auto deferred = Napi::Promise::Deferred::New(env_);
      deferred.Resolve(env_.Undefined());
      const Napi::Promise resolved = deferred.Promise();
      end_burst_ = Napi::Persistent(
          Napi::Function::New(env_, [this](const Napi::CallbackInfo&) { in_burst_ = false; }));
      resolved_ = Napi::Persistent(resolved.As<Napi::Object>());
      then_ = Napi::Persistent(resolved.Get("then").As<Napi::Function>());
    }
    then_.Call(resolved_.Value(), {end_burst_.Value()});
  } catch (const Napi::Error&) {
    return false;
  }
  in_burst_ = true;
  return true;
}

bool AddonState::MayHandOut(size_t byte_length) {
  // What the loop brings back is followed by a turn, however much it is.
  if (delivering_) return true;
  if (handed_out_ >= kUnfinalizedMaxBytes) return false;
  constexpr size_t kHalf = kUnfinalizedMaxBytes / 2;
  const bool crosses = handed_out_ < kHalf && byte_length >= kHalf - handed_out_;
  handed_out_ += byte_length;
  // Comes with the loop's next turn, and tells of it.
  if (crosses) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
  return true;
}

void AddonState::OnWake(napi_env env, napi_value, void* context, void*) {
  // Without an environment the function is being torn down, and nobody waits any more.
  if (env == nullptr) return;
  auto& state = *static_cast<AddonState*>(context);
  // Node calls this again and again, up to a thousand times in one turn, while results
  // come in: a lane may have one before its caller has returned to the loop.
  if (std::exchange(state.must_turn_, false) &&
      napi_call_threadsafe_function(state.turn_, nullptr, napi_tsfn_nonblocking) == napi_ok) {
    return;
  }
  state.DeliverAll();
}

void AddonState::OnTurn(napi_env env, napi_value, void* context, void*) {
  if (env != nullptr) static_cast<AddonState*>(context)->DeliverAll();
}

void AddonState::DeliverAll() {
  handed_out_ = 0;
  delivering_ = true;
  for (CompletionQueue::Completion& deliver : completions_->Drain()) {
    Napi::HandleScope scope(env_);
    try {
      deliver();
    } catch (const Napi::Error&) {
      // JavaScript may no longer run: a worker is being terminated, and with it
      // goes who waited.
    }
    if (--pending_ == 0) napi_unref_threadsafe_function(env_, wake_);
  }
  delivering_ = false;
}

void AddonState::StopRuns() {
  for (const std::shared_ptr<InFlight>& run : in_flight_) (void)run->Stop();
}

void AddonState::AwaitBorrowers() {
  for (const std::shared_ptr<InFlight>& run : in_flight_) {
    if (run->borrows && !run->dequeued) run->left.get_future().wait();
  }
  for (const std::shared_ptr<Borrower>& task : borrowers_) {
    if (!task->executor->Remove(task->queued)) task->left.get_future().wait();
    task->lent.Reset();
  }
  borrowers_.clear();
}

void AddonState::Shutdown() {
  completions_->Close();
  StopRuns();
  AwaitBorrowers();
  in_flight_.clear();
  ExitGuard::Renew();
}

PendingPromise::PendingPromise(Napi::Env env)
    : completions_(AddonState::Of(env).completions()),
      deferred_(std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env))) {
  AddonState::Of(env).Await();
}

void PendingPromise::Settle(std::function<Napi::Value(Napi::Env)> result) const {
  completions_->Push([deferred = deferred_, result = std::move(result)] {
    try {
      deferred->Resolve(result(deferred->Env()));
    } catch (const Napi::Error& error) {
      deferred->Reject(error.Value());
    }
  });
}

void PendingPromise::Reject(Status status) const {
  Settle(
      [status = std::move(status)](Napi::Env env) -> Napi::Value { throw ToError(env, status); });
}

}  // namespace tenon::addon
