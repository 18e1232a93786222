#include "runtime/model_host.h"

#include <chrono>

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
    : capacity_(options.lanes + options.max_queue),
      allow_inline_(options.allow_inline),
      expected_(session->info().signatures.size()),
      session_(std::move(session)),
      executor_(options.lanes, capacity_) {}

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

Result<std::vector<Value>> ModelHost::Run(const RunRequest& request) {
  const auto started = std::chrono::steady_clock::now();
  auto outputs = session_->Run(request);
  const auto taken = std::chrono::steady_clock::now() - started;
  NoteRun(request.signature, static_cast<uint64_t>(std::chrono::nanoseconds(taken).count()),
          outputs.status(), request.options == nullptr);
  return outputs;
}

void ModelHost::NoteRun(size_t signature, uint64_t nanoseconds, const Status& status,
                        bool is_usual) {
  stats_.runs.fetch_add(1, std::memory_order_relaxed);
  if (status.code() == StatusCode::kAborted) {
    stats_.cancelled.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (!status.ok()) {
    stats_.failed.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  stats_.run_time.Add(nanoseconds);
  if (!is_usual) return;
  std::atomic<uint64_t>& expected = expected_[signature];
  const uint64_t before = expected.load(std::memory_order_relaxed);
  const uint64_t smoothed = before == 0 || nanoseconds > kInlineMaxNanoseconds
                                ? nanoseconds
                                : before - before / kSmoothing + nanoseconds / kSmoothing;
  expected.store(smoothed == 0 ? 1 : smoothed, std::memory_order_relaxed);
}

}  // namespace tenon
