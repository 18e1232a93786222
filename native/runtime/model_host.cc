#include "runtime/model_host.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <new>
#include <stdexcept>

namespace tenon {
namespace {

// What handing a run to a lane and its result back costs: 28 to 31 µs were measured where
// the lane is awake, 69 to 88 for a condition variable, an eventfd and the way through
// Node-API where it sleeps. A run shorter than that holds the event loop less, or makes
// its caller wait less, on the loop than by way of a lane.
constexpr uint64_t kHandOffNanoseconds = 30'000;
constexpr uint64_t kHandOffAsleepNanoseconds = 70'000;
// A batch spares each of its runs a hand-off, but does not hold the loop longer than this.
// (Of an MLP, on two cores: 24 µs of CPU for each of 4 runs in flight instead of 42 by way
// of lanes, 21 instead of 29 for each of 8.)
constexpr uint64_t kInlineBatchMaxNanoseconds = 200'000;

// One run in how many of the expected time is the newest. A run that comes out much
// longer than any limit is believed at once, as far as it matters; one that takes about
// as long as before, after several: threads are preempted, and lanes wake with cold caches.
constexpr uint64_t kSmoothing = 4;
constexpr uint64_t kMuchLonger = 2;

using Clock = std::chrono::steady_clock;

constexpr size_t kReaperQueue = size_t{1} << 20;

// Ends hosts whose last share was dropped on their own lane. Never destroyed:
// its thread may be at work when the process exits.
Executor& Reaper() {
  static Executor& reaper = *new Executor(1, kReaperQueue);
  return reaper;
}

size_t PowerOf(size_t rows) {
  return static_cast<size_t>(std::bit_width(std::max<size_t>(rows, 1))) - 1;
}

bool IsWithin(uint64_t expected, uint64_t limit) { return expected != 0 && expected <= limit; }

void Learn(std::atomic<uint64_t>* expected, uint64_t nanoseconds, uint64_t limit) {
  const uint64_t before = expected->load(std::memory_order_relaxed);
  const uint64_t most = kMuchLonger * limit;
  const uint64_t smoothed = before == 0 || nanoseconds >= most
                                ? std::min(nanoseconds, most)
                                : before - before / kSmoothing + nanoseconds / kSmoothing;
  expected->store(smoothed == 0 ? 1 : smoothed, std::memory_order_relaxed);
}

}  // namespace

std::shared_ptr<ModelHost> ModelHost::Create(std::shared_ptr<Session> session,
                                             const HostOptions& options) {
  return {new ModelHost(std::move(session), options), Destroy};
}

ModelHost::ModelHost(std::shared_ptr<Session> session, const HostOptions& options)
    : capacity_((options.pool == nullptr ? options.lanes : options.pool->lanes()) +
                options.max_queue),
      allow_inline_(options.allow_inline),
      expected_(session->info().signatures.size()),
      expected_batch_(session->info().signatures.size()),
      session_(std::move(session)),
      executor_(options.pool == nullptr ? LanePool::Create({.lanes = options.lanes,
                                                            .spin = options.spin,
                                                            .niceness = options.niceness})
                                        : options.pool,
                capacity_, options.weight) {}

// The engine may give a buffer back later still.
ModelHost::~ModelHost() { buffers_->Close(); }

void ModelHost::Destroy(ModelHost* host) {
  if (!host->executor_.IsCurrentThread()) {
    delete host;
    return;
  }
  // A lane cannot join itself. Without a thread to do it the host stays: a leak
  // is better than an end.
  (void)Reaper().Submit([host] { delete host; });
}

bool ModelHost::RunsInline(size_t signature) const {
  if (!allow_inline_ || signature >= expected_.size()) return false;
  return IsWithin(expected_[signature].load(std::memory_order_relaxed), kHandOffNanoseconds);
}

bool ModelHost::RunsInlineAlone(size_t signature) const {
  if (!allow_inline_ || signature >= expected_.size()) return false;
  return IsWithin(expected_[signature].load(std::memory_order_relaxed),
                  kHandOffAsleepNanoseconds) &&
         IsIdle();
}

bool ModelHost::RunsInlineAlone(size_t signature, size_t runs, size_t rows) {
  if (!allow_inline_ || signature >= expected_.size()) return false;
  const uint64_t limit = std::clamp(std::min<uint64_t>(runs, 1'000) * kHandOffNanoseconds,
                                    kHandOffAsleepNanoseconds, kInlineBatchMaxNanoseconds);
  return IsWithin(ExpectedBatch(signature, rows).load(std::memory_order_relaxed), limit) &&
         IsIdle();
}

std::atomic<uint64_t>& ModelHost::ExpectedBatch(size_t signature, size_t rows) {
  auto& classes = expected_batch_[signature];
  return classes[std::min(PowerOf(rows), classes.size() - 1)];
}

void ModelHost::NoteBatch(size_t signature, size_t rows, uint64_t nanoseconds) {
  Learn(&ExpectedBatch(signature, rows), nanoseconds, kInlineBatchMaxNanoseconds);
}

// Whether its lanes sleep, as far as it is about them.
bool ModelHost::IsIdle() const {
  if (executor_.pool().spins()) return false;
  const Executor::Load load = executor_.load();
  return load.running == 0 && load.waiting == 0;
}

Result<std::vector<Value>> ModelHost::Timed(const RunRequest& request, uint64_t* nanoseconds) {
  const auto started = Clock::now();
  auto outputs = session_->Run(request);
  *nanoseconds = static_cast<uint64_t>((Clock::now() - started) / std::chrono::nanoseconds(1));
  return outputs;
}

Result<std::vector<Value>> ModelHost::Run(const RunRequest& request, uint64_t* nanoseconds) {
  uint64_t taken = 0;
  auto outputs = Timed(request, &taken);
  NoteRun(request.signature, taken, outputs.status(), request.options == nullptr);
  if (nanoseconds != nullptr) *nanoseconds = taken;
  return outputs;
}

Result<std::vector<ScatteredOutput>> ModelHost::RunBatch(Gather* batch, size_t small,
                                                         CancelToken* cancel) {
  try {
    return GatherAndRun(batch, small, cancel);
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  Status status(StatusCode::kOutOfMemory, "expected memory to put a batch together");
  Count(batch->request().member_count, 0, status);
  return status;
}

Result<std::vector<ScatteredOutput>> ModelHost::GatherAndRun(Gather* batch, size_t small,
                                                             CancelToken* cancel) {
  const BatchRequest& request = batch->request();
  RunRequest run;
  run.signature = request.signature;
  run.outputs = request.outputs;
  run.cancel = cancel;
  run.copied_bytes = &stats_.feeds.copied;
  Status status = batch->Finish(cancel, &run);
  if (!status.ok()) {
    Count(request.member_count, 0, status);
    return status;
  }
  stats_.feeds.copied.fetch_add(batch->copied_bytes(), std::memory_order_relaxed);
  stats_.gathered_bytes.fetch_add(batch->copied_bytes(), std::memory_order_relaxed);
  stats_.batches.fetch_add(1, std::memory_order_relaxed);
  stats_.batched_runs.fetch_add(request.member_count, std::memory_order_relaxed);
  const size_t rows = batch->member_rows();
  stats_.batch_rows.fetch_add(rows, std::memory_order_relaxed);
  stats_.padded_rows.fetch_add(request.layout.rows - rows, std::memory_order_relaxed);
  stats_.batch_sizes[std::min(PowerOf(rows), stats_.batch_sizes.size() - 1)].fetch_add(
      1, std::memory_order_relaxed);

  uint64_t nanoseconds = 0;
  auto outputs = Timed(run, &nanoseconds);
  run.feeds.clear();  // the buffers are the next batch's
  if (!outputs.ok()) {
    Count(request.member_count, nanoseconds, outputs.status());
    return outputs.status();
  }
  NoteBatch(request.signature, request.layout.rows, nanoseconds);
  uint64_t copied = 0;
  auto parts = Scatter(info(), *batch, outputs.value(), small, &copied);
  stats_.outputs.copied.fetch_add(copied, std::memory_order_relaxed);
  Count(request.member_count, nanoseconds, parts.status());
  return parts;
}

void ModelHost::Count(uint64_t runs, uint64_t nanoseconds, const Status& status) {
  stats_.runs.fetch_add(runs, std::memory_order_relaxed);
  if (status.ok()) {
    stats_.run_time.Add(nanoseconds);
  } else if (status.code() == StatusCode::kAborted) {
    stats_.cancelled.fetch_add(runs, std::memory_order_relaxed);
  } else {
    stats_.failed.fetch_add(runs, std::memory_order_relaxed);
  }
}

void ModelHost::NoteRun(size_t signature, uint64_t nanoseconds, const Status& status,
                        bool is_usual) {
  Count(1, nanoseconds, status);
  if (!status.ok() || !is_usual) return;
  Learn(&expected_[signature], nanoseconds, kHandOffAsleepNanoseconds);
}

}  // namespace tenon
