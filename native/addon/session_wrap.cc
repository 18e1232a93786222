#include "addon/session_wrap.h"

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "addon/batch.h"
#include "addon/binding_wrap.h"
#include "addon/errors.h"
#include "addon/json_run.h"
#include "addon/options.h"
#include "addon/pool_wrap.h"
#include "addon/request.h"
#include "addon/values.h"
#include "platform/aligned_memory.h"

namespace tenon::addon {
namespace {

using Clock = std::chrono::steady_clock;
// Inside the class, Value would be Napi::Reference's.
using Outputs = std::vector<Value>;

// Models that may be attached to, by the number of their share. Per process,
// because that is what attaching is for. A share lasts as long as the session
// that gave it.
class Shares {
 public:
  static Shares& Get() {
    static Shares& shares = *new Shares;
    return shares;
  }

  uint32_t Add(const std::shared_ptr<ModelHost>& host) {
    std::lock_guard<std::mutex> lock(mutex_);
    hosts_[++last_] = host;
    return last_;
  }
  std::shared_ptr<ModelHost> Find(uint32_t number) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = hosts_.find(number);
    return found == hosts_.end() ? nullptr : found->second.lock();
  }
  void Remove(uint32_t number) {
    std::lock_guard<std::mutex> lock(mutex_);
    hosts_.erase(number);
  }

 private:
  std::mutex mutex_;
  uint32_t last_ = 0;
  std::map<uint32_t, std::weak_ptr<ModelHost>> hosts_;
};

Napi::Value WriteOutputs(Napi::Env env, const std::vector<Value>& values, const RunRequest& request,
                         ModelHost::Stats& stats) {
  if (request.targets.empty()) return WriteValues(env, values, &stats.outputs);
  napi_value array;
  napi_create_array_with_length(env, values.size(), &array);
  for (uint32_t i = 0; i < values.size(); ++i) {
    // An output that went into a given tensor is that tensor; its caller has it.
    if (request.targets[i].kind == OutputTarget::Kind::kInto) continue;
    napi_set_element(env, array, i, WriteValue(env, values[i], &stats.outputs));
  }
  return {env, array};
}

Napi::Object WriteHistogram(Napi::Env env, const Histogram& histogram) {
  const Histogram::Summary summary = histogram.Summarize();
  Napi::Object object = Napi::Object::New(env);
  object.Set("count", static_cast<double>(summary.count));
  object.Set("mean", summary.mean_micros);
  object.Set("p50", summary.p50_micros);
  object.Set("p90", summary.p90_micros);
  object.Set("p99", summary.p99_micros);
  object.Set("max", summary.max_micros);
  return object;
}

// Puts copies in the place of integers that may be indices, see FeedMemory.
Status CopyIndices(Value* feed, std::vector<BindingWrap::Refresh>* refreshes) {
  for (Value& item : feed->items) TENON_RETURN_IF_ERROR(CopyIndices(&item, refreshes));
  if (feed->kind != Value::Kind::kTensor || !IsIndexLike(feed->tensor.dtype)) return {};
  Tensor copy = feed->tensor;
  copy.owner = AllocateAligned(copy.byte_length);
  if (copy.owner == nullptr) {
    return {StatusCode::kOutOfMemory,
            "expected memory for a feed of " + std::to_string(copy.byte_length) + " bytes"};
  }
  copy.data = copy.owner.get();
  refreshes->push_back({feed->tensor, copy});
  refreshes->back().Copy();
  feed->tensor = std::move(copy);
  return {};
}

double Count(const std::atomic<uint64_t>& counter) {
  return static_cast<double>(counter.load(std::memory_order_relaxed));
}

}  // namespace

// One asynchronous call, from the call to its promise.
struct SessionWrap::Job : InFlight {
  explicit Job(Napi::Env env) : promise(env) {}

  PendingPromise promise;
  uint64_t number = 0;
  Clock::time_point submitted;
  Call call;
  Status status;
};

Napi::Function SessionWrap::Define(Napi::Env env) {
  return DefineClass(
      env, "NativeSession",
      {InstanceMethod("run", &SessionWrap::Run), InstanceMethod("runSync", &SessionWrap::RunSync),
       InstanceMethod("runBatch", &SessionWrap::RunBatch),
       InstanceMethod("bind", &SessionWrap::Bind),
       InstanceMethod("prepareJson", &SessionWrap::PrepareJson),
       InstanceMethod("cancel", &SessionWrap::Cancel),
       InstanceMethod("cancelAll", &SessionWrap::CancelAll),
       InstanceMethod("stats", &SessionWrap::Stats), InstanceMethod("load", &SessionWrap::Load),
       InstanceMethod("share", &SessionWrap::Share),
       InstanceMethod("endProfiling", &SessionWrap::EndProfiling),
       InstanceMethod("close", &SessionWrap::Close)});
}

Napi::Object SessionWrap::New(Napi::Env env, std::shared_ptr<ModelHost> host) {
  auto external = Napi::External<std::shared_ptr<ModelHost>>::New(env, &host);
  return AddonState::Of(env).session_constructor.New({external});
}

Napi::Object SessionWrap::Attach(Napi::Env env, uint32_t number) {
  std::shared_ptr<ModelHost> host = Shares::Get().Find(number);
  if (host == nullptr) {
    throw ToError(env, {StatusCode::kModelClosed,
                        "expected the handle of an open model, received one that was closed"});
  }
  return New(env, std::move(host));
}

SessionWrap::SessionWrap(const Napi::CallbackInfo& info)
    : ObjectWrap(info),
      open_sessions_(AddonState::Of(info.Env()).exchange.sessions()),
      number_(open_sessions_->Add(this)) {
  if (!info[0].IsExternal()) ThrowInvalidArgument(info.Env(), "a session made by a load");
  host_ = std::move(*info[0].As<Napi::External<std::shared_ptr<ModelHost>>>().Data());
  Napi::Object self = info.This().As<Napi::Object>();
  self.Set("info", WriteModelInfo(info.Env(), host_->info()));
  self.Set("number", number_);
}

SessionWrap::~SessionWrap() {
  open_sessions_->Remove(number_);
  bound_calls_.Clear();
  Unshare();
  // A lane may drop the last share of a job.
  for (const auto& [number, job] : jobs_) job->call.lent.Reset();
  if (host_ == nullptr) return;
  // Collected without close, or at the environment's end. What the engine does
  // at a session's end may take long: not here.
  (void)AddonState::Background().Submit([host = std::move(host_)]() mutable { host.reset(); });
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
  ModelHost::Stats& stats = host->stats();
  AddonState& state = AddonState::Of(env);
  // One with options may write a file: not on the event loop.
  const bool has_options = HasRunOptions(info, OptionsAt::kRun);
  if (!has_options && state.TakesInline(*host, ReadSignature(info), HasNoRuns())) {
    const auto started = Clock::now();
    // Targets as for a lane: what a run accepts must not depend on where it happens.
    const RunRequest request = ReadRequest(info, FeedMemory::kBorrowed, FeedMemory::kOwned, &stats);
    const auto outputs = host->Run(request);
    stats.inline_runs.fetch_add(1, std::memory_order_relaxed);
    state.NoteInline(Clock::now() - started);
    ThrowIfError(env, outputs.status());
    return WriteOutputs(env, outputs.value(), request, stats);
  }

  const RunSettings settings = ReadSettings(info, SettingsAt::kRun);
  // A run that was stopped may still write when its caller, and with it a buffer, has gone.
  RunRequest request = ReadRequest(info, settings.borrow ? FeedMemory::kLent : FeedMemory::kOwned,
                                   FeedMemory::kOwned, &stats);
  if (has_options) request.options = ReadRunOptions(info, OptionsAt::kRun);
  Napi::ObjectReference lent;
  if (settings.borrow) lent = Napi::Persistent(info[2].As<Napi::Object>());
  return RunOnLane(env, std::move(request), settings, std::move(lent));
}

Napi::Value SessionWrap::RunOnLane(Napi::Env env, RunRequest request, const RunSettings& settings,
                                   Napi::ObjectReference lent) {
  struct Exchanged {
    RunRequest request;
    Outputs outputs;
  };
  auto exchanged = std::make_shared<Exchanged>();
  exchanged->request = std::move(request);
  ModelHost* const runner = OpenHost(env).get();
  Call call;
  call.lent = std::move(lent);
  call.ticket = settings.ticket;
  call.priority = settings.priority;
  call.work = [exchanged, runner](CancelToken* cancel) -> Status {
    exchanged->request.cancel = cancel;
    auto outputs = runner->Run(exchanged->request);
    // Feeds go here, not on the event loop.
    exchanged->request.feeds.clear();
    if (!outputs.ok()) return outputs.status();
    exchanged->outputs = std::move(outputs.value());
    return {};
  };
  call.result = [exchanged, runner](Napi::Env settle_env) {
    return WriteOutputs(settle_env, exchanged->outputs, exchanged->request, runner->stats());
  };
  return Submit(env, std::move(call));
}

Napi::Value SessionWrap::RunSync(const Napi::CallbackInfo& info) {
  const std::shared_ptr<ModelHost>& host = OpenHost(info.Env());
  RunRequest request =
      ReadRequest(info, FeedMemory::kBorrowed, FeedMemory::kBorrowed, &host->stats());
  request.options = ReadRunOptions(info, OptionsAt::kRunSync);
  const auto outputs = host->Run(request);
  ThrowIfError(info.Env(), outputs.status());
  return WriteOutputs(info.Env(), outputs.value(), request, host->stats());
}

Napi::Value SessionWrap::RunBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ModelHost>& host = OpenHost(env);
  const RunSettings settings = ReadSettings(info, SettingsAt::kRunBatch);
  struct Exchange {
    std::unique_ptr<Gather> batch;
    std::vector<ScatteredOutput> outputs;
  };
  auto exchange = std::make_shared<Exchange>();
  exchange->batch = ReadBatch(info, *host, settings.borrow);
  ModelHost* const runner = host.get();
  const BatchRequest& request = exchange->batch->request();
  AddonState& state = AddonState::Of(env);
  if (!IsForLane(info) && HasNoRuns() &&
      host->RunsInlineAlone(request.signature, request.member_count, request.layout.rows) &&
      state.MayRunInline()) {
    const auto started = Clock::now();
    const auto outputs = host->RunBatch(exchange->batch.get(), kExternalMinBytes, nullptr);
    host->stats().inline_runs.fetch_add(request.member_count, std::memory_order_relaxed);
    // After one that went well its maker lets the loop turn.
    if (!outputs.ok()) state.NoteInline(Clock::now() - started);
    ThrowIfError(env, outputs.status());
    return WriteBatch(env, outputs.value(), host->stats());
  }
  Call call;
  // The sources.
  if (!exchange->batch->IsAllOwned()) call.lent = Napi::Persistent(info[2].As<Napi::Object>());
  call.ticket = settings.ticket;
  call.priority = settings.priority;
  call.runs = request.member_count;
  call.work = [exchange, runner](CancelToken* cancel) -> Status {
    auto outputs = runner->RunBatch(exchange->batch.get(), kExternalMinBytes, cancel);
    if (!outputs.ok()) return outputs.status();
    exchange->outputs = std::move(outputs.value());
    return {};
  };
  call.result = [exchange, runner](Napi::Env settle_env) {
    return WriteBatch(settle_env, exchange->outputs, runner->stats());
  };
  return Submit(env, std::move(call));
}

Napi::Value SessionWrap::RunExchanged(const Napi::CallbackInfo& info, Exchange& exchange) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ModelHost>& host = OpenHost(env);
  ModelHost::Stats& stats = host->stats();
  AddonState& state = AddonState::Of(env);
  if (state.TakesInline(*host, exchange.block().signature(), HasNoRuns())) {
    stats.inline_runs.fetch_add(1, std::memory_order_relaxed);
    return RunInPlace(env, exchange, &state);
  }
  RunSettings settings;
  settings.ticket = info[0].As<Napi::Number>().Uint32Value();
  settings.priority = info[1].As<Napi::Number>().Int32Value();
  RunRequest request;
  const auto feed_bytes = exchange.block().Take(&request);
  ThrowIfError(env, feed_bytes.status());
  stats.feeds.copied.fetch_add(feed_bytes.value(), std::memory_order_relaxed);
  request.copied_bytes = &stats.feeds.copied;
  return RunOnLane(env, std::move(request), settings, {});
}

Napi::Value SessionWrap::RunExchangedSync(const Napi::CallbackInfo& info, Exchange& exchange) {
  OpenHost(info.Env());
  return RunInPlace(info.Env(), exchange, nullptr);
}

// `state` is told how long it took, where it is not null.
Napi::Value SessionWrap::RunInPlace(Napi::Env env, Exchange& exchange, AddonState* state) {
  ExchangeBlock& block = exchange.block();
  ModelHost& host = *host_;
  ModelHost::Stats& stats = host.stats();
  BoundCalls::Call* const call = bound_calls_.Find(block.key());
  if (call != nullptr && call->run != nullptr) {
    const auto started = Clock::now();
    const Status status = call->run->Run(nullptr);
    const auto taken = Clock::now() - started;
    if (status.code() != StatusCode::kShape) {
      host.NoteRun(call->signature, static_cast<uint64_t>(taken / std::chrono::nanoseconds(1)),
                   status);
      if (state != nullptr) state->NoteInline(taken);
      stats.feeds.copied.fetch_add(call->feed_bytes, std::memory_order_relaxed);
      ThrowIfError(env, status);
      stats.outputs.copied.fetch_add(*block.Write(call->outputs), std::memory_order_relaxed);
      return {};
    }
    // An output has another shape than it used to have.
    call->run = nullptr;
  }
  RunRequest& request = exchange.request();
  const auto feed_bytes = block.Read(&request);
  ThrowIfError(env, feed_bytes.status());
  stats.feeds.copied.fetch_add(feed_bytes.value(), std::memory_order_relaxed);
  request.copied_bytes = &stats.feeds.copied;
  uint64_t nanoseconds = 0;
  const auto outputs = host.Run(request, &nanoseconds);
  if (state != nullptr) state->NoteInline(std::chrono::nanoseconds(nanoseconds));
  ThrowIfError(env, outputs.status());
  const auto output_bytes = block.Write(outputs.value());
  if (!output_bytes) return WriteOutputs(env, outputs.value(), request, stats);
  stats.outputs.copied.fetch_add(*output_bytes, std::memory_order_relaxed);
  if (call == nullptr && bound_calls_.ComesAgain(block.key())) BindExchanged(exchange);
  return {};
}

void SessionWrap::BindExchanged(Exchange& exchange) {
  // Where it cannot be bound, it is known not to be, and goes on as it did.
  BoundCalls::Call* const call = bound_calls_.Add(exchange.block().key());
  RunRequest& request = exchange.request();
  std::vector<Shape> shapes;
  if (!host_->session().ExpectShapes(request, &shapes)) return;
  auto outputs =
      exchange.block().Settle(host_->info().signatures[request.signature], shapes, &request);
  if (!outputs) return;
  request.copied_bytes = nullptr;
  auto bound = host_->session().Bind(request);
  if (!bound.ok()) return;
  call->run = std::move(bound.value());
  call->signature = request.signature;
  call->outputs = std::move(*outputs);
  for (const ::tenon::Value& feed : request.feeds) call->feed_bytes += feed.tensor.byte_length;
}

Napi::Value SessionWrap::Bind(const Napi::CallbackInfo& info) {
  const std::shared_ptr<ModelHost>& host = OpenHost(info.Env());
  RunRequest request = ReadRequest(info, FeedMemory::kKept, FeedMemory::kOwned, &host->stats());
  request.options = ReadRunOptions(info, OptionsAt::kBind);
  std::vector<BindingWrap::Refresh> refreshes;
  for (::tenon::Value& feed : request.feeds) {
    ThrowIfError(info.Env(), CopyIndices(&feed, &refreshes));
  }
  auto bound = host->session().Bind(request);
  ThrowIfError(info.Env(), bound.status());
  return BindingWrap::New(info.Env(), Value(), std::move(bound.value()), request.signature,
                          std::move(refreshes), request.options != nullptr);
}

Napi::Value SessionWrap::PrepareJson(const Napi::CallbackInfo& info) {
  return addon::PrepareJson(info);
}

Napi::Value SessionWrap::Submit(Napi::Env env, Call call) {
  const std::shared_ptr<ModelHost>& host = OpenHost(env);
  if (jobs_.size() >= host->capacity()) {
    throw ToError(env, {StatusCode::kQueueFull,
                        "expected at most " + std::to_string(host->capacity()) +
                            " runs of the model at a time (pool.lanes and pool.maxQueue), "
                            "received one more"});
  }
  auto job = std::make_shared<Job>(env);
  job->host = host;
  job->number = ++submitted_;
  job->submitted = Clock::now();
  job->call = std::move(call);
  job->borrows = !job->call.lent.IsEmpty();
  const auto queued = host->executor().Submit(
      [this, job] {
        job->host->stats().queue_time.Add(
            static_cast<uint64_t>((Clock::now() - job->submitted) / std::chrono::nanoseconds(1)));
        job->status = job->cancel.cancelled()
                          ? Status(StatusCode::kAborted, "the run was stopped before it began")
                          : job->call.work(&job->cancel);
        job->call.work = nullptr;
        if (job->borrows) job->left.set_value();
        Settle(this, job);
      },
      job->call.priority);
  const Napi::Promise promise = job->promise.promise();
  if (!queued.ok()) {
    job->promise.Reject(queued.status());
    if (job->call.ended) job->call.ended();
    return promise;
  }
  job->queued = queued.value();
  AddonState::Of(env).Add(job);
  if (job->call.ticket != 0) tickets_[job->call.ticket] = job->number;
  jobs_[job->number] = job;
  if (jobs_.size() == 1) Ref();
  return promise;
}

void SessionWrap::Settle(SessionWrap* wrap, const std::shared_ptr<Job>& job) {
  job->promise.Settle([wrap, job](Napi::Env env) {
    struct AtEnd {
      SessionWrap* wrap;
      const std::shared_ptr<Job>& job;
      ~AtEnd() {
        try {
          wrap->EndRun(job);
        } catch (const Napi::Error&) {
          // As in AddonState::DeliverAll: the environment is being terminated.
        }
      }
    } const at_end{wrap, job};
    ThrowIfError(env, job->status);
    return job->call.result(env);
  });
}

void SessionWrap::Stop(const std::shared_ptr<Job>& job) {
  if (!job->InFlight::Stop()) return;
  // It left the queue, so nobody else settles it.
  job->host->stats().cancelled.fetch_add(job->call.runs, std::memory_order_relaxed);
  job->status = {StatusCode::kAborted, "the run was stopped before it began"};
  Settle(this, job);
}

void SessionWrap::Cancel(const Napi::CallbackInfo& info) {
  const auto ticket = tickets_.find(info[0].As<Napi::Number>().Uint32Value());
  if (ticket != tickets_.end()) Stop(jobs_[ticket->second]);
}

void SessionWrap::CancelAll(const Napi::CallbackInfo&) {
  for (const auto& [number, job] : jobs_) Stop(job);
}

Napi::Value SessionWrap::Stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<ModelHost>& host = OpenHost(env);
  const ModelHost::Stats& stats = host->stats();
  const Executor::Load load = host->executor().load();
  Napi::Object object = Napi::Object::New(env);
  object.Set("runs", Count(stats.runs));
  object.Set("inlineRuns", Count(stats.inline_runs));
  object.Set("failedRuns", Count(stats.failed));
  object.Set("cancelledRuns", Count(stats.cancelled));
  object.Set("queuedRuns", static_cast<double>(load.waiting));
  object.Set("busyLanes", static_cast<double>(load.running));
  object.Set("queueMicros", WriteHistogram(env, stats.queue_time));
  object.Set("runMicros", WriteHistogram(env, stats.run_time));
  object.Set("feedBytesCopied", Count(stats.feeds.copied));
  object.Set("feedBytesPassed", Count(stats.feeds.passed));
  object.Set("outputBytesCopied", Count(stats.outputs.copied));
  object.Set("outputBytesPassed", Count(stats.outputs.passed));
  object.Set("lanes", WriteLanes(env, host->lanes().stats()));
  object.Set("batches", Count(stats.batches));
  object.Set("batchedRuns", Count(stats.batched_runs));
  object.Set("batchRows", Count(stats.batch_rows));
  object.Set("paddedRows", Count(stats.padded_rows));
  object.Set("batchSizes", WriteBatchSizes(env, stats));
  object.Set("gatheredBytes", Count(stats.gathered_bytes));
  object.Set("gatherAllocations", static_cast<double>(host->buffers()->allocations()));
  return object;
}

Napi::Value SessionWrap::Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Executor::Load load = OpenHost(env)->executor().load();
  Napi::Array numbers = Napi::Array::New(env, 3);
  numbers.Set(uint32_t{0}, static_cast<double>(load.lanes));
  numbers.Set(1, static_cast<double>(load.running));
  numbers.Set(2, static_cast<double>(load.waiting));
  return numbers;
}

Napi::Value SessionWrap::EndProfiling(const Napi::CallbackInfo& info) {
  const auto path = OpenHost(info.Env())->session().EndProfiling();
  ThrowIfError(info.Env(), path.status());
  return Napi::String::New(info.Env(), path.value());
}

Napi::Value SessionWrap::Share(const Napi::CallbackInfo& info) {
  if (share_ == 0) share_ = Shares::Get().Add(OpenHost(info.Env()));
  return Napi::Number::New(info.Env(), share_);
}

void SessionWrap::Unshare() {
  if (share_ != 0) Shares::Get().Remove(share_);
  share_ = 0;
}

Napi::Value SessionWrap::Close(const Napi::CallbackInfo& info) {
  OpenHost(info.Env());
  Unshare();
  bound_calls_.Clear();
  closing_ = std::make_unique<PendingPromise>(info.Env());
  const Napi::Promise promise = closing_->promise();
  Ref();
  if (jobs_.empty()) Release();
  return promise;
}

void SessionWrap::EndRun(const std::shared_ptr<Job>& job) {
  AddonState::Of(Env()).Remove(job);
  if (job->call.ticket != 0) tickets_.erase(job->call.ticket);
  jobs_.erase(job->number);
  if (job->call.ended) job->call.ended();
  job->call.lent.Reset();
  // This share must not be the last one: the model would end on this thread.
  job->host.reset();
  if (!jobs_.empty()) return;
  if (closing_ != nullptr) Release();
  Unref();
}

void SessionWrap::Release() {
  auto release = [host = std::move(host_), done = *closing_]() mutable {
    host.reset();
    done.Settle([](Napi::Env env) { return env.Undefined(); });
  };
  // Without a thread the model ends here, which blocks, rather than never.
  const auto shared = std::make_shared<decltype(release)>(std::move(release));
  if (!AddonState::Background().Submit([shared] { (*shared)(); }).ok()) (*shared)();
  Unref();
}

}  // namespace tenon::addon
