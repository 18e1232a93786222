#include "runtime/model_host.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <new>
#include <stdexcept>

namespace tenon {
namespace {

// What handing a run to a sleeping lane and its result back costs at the least:
// 69 to 88 µs were measured for a condition variable, an eventfd and the way
// through Node-API, 28 to 31 µs where the lane spins. A run shorter than that
// holds the event loop less on the loop than a hand-off does.
constexpr uint64_t kInlineMaxNanoseconds = 30'000;

// One run in how many of the expected time is the newest. A run that comes out
// longer than the limit is believed at once, a shorter one after several.
constexpr uint64_t kSmoothing = 4;

using Clock = std::chrono::steady_clock;

constexpr size_t kReaperQueue = size_t{1} << 20;

// Ends hosts whose last share was dropped on their own lane. Never destroyed:
// its thread may be at work when the process exits.
Executor& Reaper() {
  static Executor& reaper = *new Executor(1, kReaperQueue);
  return reaper;
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
  const uint64_t expected = expected_[signature].load(std::memory_order_relaxed);
  return expected != 0 && expected <= kInlineMaxNanoseconds;
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
  const size_t power = static_cast<size_t>(std::bit_width(std::max<size_t>(rows, 1))) - 1;
  stats_.batch_sizes[std::min(power, stats_.batch_sizes.size() - 1)].fetch_add(
      1, std::memory_order_relaxed);

  uint64_t nanoseconds = 0;
  auto outputs = Timed(run, &nanoseconds);
  run.feeds.clear();  // the buffers are the next batch's
  if (!outputs.ok()) {
    Count(request.member_count, nanoseconds, outputs.status());
    return outputs.status();
  }
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
  std::atomic<uint64_t>& expected = expected_[signature];
  const uint64_t before = expected.load(std::memory_order_relaxed);
  const uint64_t smoothed = before == 0 || nanoseconds > kInlineMaxNanoseconds
                                ? nanoseconds
                                : before - before / kSmoothing + nanoseconds / kSmoothing;
  expected.store(smoothed == 0 ? 1 : smoothed, std::memory_order_relaxed);
}

}  // namespace tenon
