#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/status.h"
#include "engines/session.h"
#include "runtime/buffer_pool.h"
#include "runtime/executor.h"
#include "runtime/gather.h"
#include "runtime/histogram.h"
#include "runtime/scatter.h"

namespace tenon {

struct HostOptions {
  // Lanes of its own, or those of `pool`, which it shares with others by weight.
  size_t lanes = 1;
  std::shared_ptr<LanePool> pool;
  double weight = 1;
  std::chrono::microseconds spin{0};  // of its own lanes, see LanePoolOptions
  int niceness = 0;                   // likewise
  size_t max_queue = 0;
  // Runs that are short enough may happen on the calling thread, see RunsInline.
  bool allow_inline = true;
};

// Bytes of feeds and outputs, by what became of them on their way.
struct ByteCounts {
  std::atomic<uint64_t> copied{0};
  std::atomic<uint64_t> passed{0};
};

// A loaded model and the lanes that run it, shared by everyone who uses it: the
// environments that attached to it, and its own jobs.
//
// The last share may be dropped on any thread, the host's own lanes included;
// the session then ends on another one.
class ModelHost {
 public:
  static std::shared_ptr<ModelHost> Create(std::shared_ptr<Session> session,
                                           const HostOptions& options);
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  const ModelInfo& info() const { return session_->info(); }
  Session& session() { return *session_; }
  Executor& executor() { return executor_; }
  LanePool& lanes() { return executor_.pool(); }

  // Runs that may be under way or waiting. Whoever submits counts them, because
  // for a caller a run ends when its result arrives, not when its lane is free.
  size_t capacity() const { return capacity_; }

  // Whether a run of this signature is expected to take less time than handing
  // it to a lane would: it may then happen on the calling thread, which is held
  // no longer by it than by the hand-off.
  bool RunsInline(size_t signature) const;

  // The same of a run that comes alone: nothing of the model is under way, so that its
  // lanes sleep, and handing it to one takes longer.
  bool RunsInlineAlone(size_t signature) const;

  // The same of so many runs as one batch, of so many rows.
  bool RunsInlineAlone(size_t signature, size_t runs, size_t rows);

  // Runs on the calling thread, and learns how long that takes; `nanoseconds`, which
  // may be null, is told.
  Result<std::vector<Value>> Run(const RunRequest& request, uint64_t* nanoseconds = nullptr);

  // The buffers that batches are gathered in.
  const std::shared_ptr<BufferPool>& buffers() const { return buffers_; }

  // Runs the members of `batch` as one call of the engine, and gives each output as
  // Scatter does; see there for `small`. What a batch takes says nothing of a single
  // run: it is learned for batches of about as many rows.
  Result<std::vector<ScatteredOutput>> RunBatch(Gather* batch, size_t small, CancelToken* cancel);

  // Takes note of a run made elsewhere (a bound one). One that is not usual, because
  // its engine was told to trace it, say, teaches nothing of how long others take.
  void NoteRun(size_t signature, uint64_t nanoseconds, const Status& status, bool is_usual = true);

  // How long a batch of so many rows took.
  void NoteBatch(size_t signature, size_t rows, uint64_t nanoseconds);

  struct Stats {
    std::atomic<uint64_t> runs{0};
    std::atomic<uint64_t> inline_runs{0};
    std::atomic<uint64_t> failed{0};
    std::atomic<uint64_t> cancelled{0};
    Histogram queue_time;
    Histogram run_time;
    ByteCounts feeds;
    ByteCounts outputs;

    // Calls of the engine for several runs, and the runs in them (which `runs` and
    // the like count one by one).
    std::atomic<uint64_t> batches{0};
    std::atomic<uint64_t> batched_runs{0};
    // Rows of those runs, and rows that filled batches up.
    std::atomic<uint64_t> batch_rows{0};
    std::atomic<uint64_t> padded_rows{0};
    std::atomic<uint64_t> gathered_bytes{0};
    // Batches of 1, 2 to 3, 4 to 7 … rows of runs; the last takes all that are larger.
    std::array<std::atomic<uint64_t>, 21> batch_sizes{};
  };
  Stats& stats() { return stats_; }

 private:
  ModelHost(std::shared_ptr<Session> session, const HostOptions& options);
  ~ModelHost();
  static void Destroy(ModelHost* host);

  Result<std::vector<Value>> Timed(const RunRequest& request, uint64_t* nanoseconds);
  Result<std::vector<ScatteredOutput>> GatherAndRun(Gather* batch, size_t small,
                                                    CancelToken* cancel);
  bool IsIdle() const;
  std::atomic<uint64_t>& ExpectedBatch(size_t signature, size_t rows);
  // What became of `runs` calls that were one for the engine.
  void Count(uint64_t runs, uint64_t nanoseconds, const Status& status);

  const size_t capacity_;
  const bool allow_inline_;
  // Expected nanoseconds, 0 before the first.
  using Expected = std::atomic<uint64_t>;
  // By signature, of a run and of batches, by the power of two of their rows; the last
  // takes all that are larger.
  std::vector<Expected> expected_;
  std::vector<std::array<Expected, 12>> expected_batch_;
  Stats stats_;
  const std::shared_ptr<BufferPool> buffers_ = BufferPool::Create();
  std::shared_ptr<Session> session_;
  // Declared last: its runs have ended before the session goes.
  Executor executor_;
};

}  // namespace tenon
