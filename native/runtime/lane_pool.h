#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/status.h"
#include "runtime/fair_share.h"

namespace tenon {

class Executor;

struct LanePoolOptions {
  size_t lanes = 1;  // at least 1
  // How long a lane that has run out of tasks looks for another before it sleeps.
  // At most one lane does at a time, and none without having run a task.
  std::chrono::microseconds spin{0};
  // How far lanes whose runs are long give way to other threads, see GiveWay.
  int niceness = 0;
  // Starts a lane; throws std::system_error where it cannot. Empty: a std::thread.
  std::function<std::thread(std::function<void()>)> start = {};
};

// Native threads ("lanes") that take the tasks of any number of executors: fair
// between these by weight and measured time (see FairShare), in each one's own
// order within it. Lanes start when there is work for them, and end with the pool,
// which ends with its last executor and holder.
//
// Every member function may be called from any thread. The last share must not be
// dropped on one of the pool's own lanes.
class LanePool {
 public:
  using Clock = std::chrono::steady_clock;

  static std::shared_ptr<LanePool> Create(LanePoolOptions options);
  ~LanePool();
  LanePool(const LanePool&) = delete;
  LanePool& operator=(const LanePool&) = delete;

  size_t lanes() const { return options_.lanes; }
  // Whether one of its lanes stays awake for a while.
  bool spins() const { return options_.spin.count() > 0; }

  struct LaneStats {
    uint64_t id;  // of the process
    uint64_t runs;
    std::chrono::nanoseconds busy;  // with the run it makes now
    bool is_busy;
  };
  struct Stats {
    size_t waiting;
    size_t running;
    size_t executors;
    std::vector<LaneStats> lanes;  // those that have started
  };
  Stats stats() const;

 private:
  friend class Executor;

  struct Lane {
    std::thread thread;
    std::condition_variable woken;
    bool is_asleep = false;
    uint64_t id = 0;
    uint64_t runs = 0;
    Clock::duration busy{0};
    Clock::time_point since;
    bool is_busy = false;
    bool gives_way = false;
  };

  explicit LanePool(LanePoolOptions options) : options_(std::move(options)) {}

  // The following under the lock.
  // Has a lane take what was just put into a queue. `woken` is the one to be notified once
  // the lock is free, if any: one that is notified before would run into the lock.
  Status Wake(Lane** woken);
  Status StartLane();
  size_t FreeLanes() const;
  bool GivesWay(Lane* lane) const;

  void RunLane(Lane* lane);
  void AwaitWork(Lane* lane, std::unique_lock<std::mutex>* lock);
  void Spin(std::unique_lock<std::mutex>* lock);

  const LanePoolOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;  // the last task of an executor that shuts down
  FairShare fair_share_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  // The last to fall asleep is woken first: its stack and caches are warm, and lanes that
  // are never needed touch no memory.
  std::vector<Lane*> asleep_;
  size_t looking_ = 0;  // lanes awake that have yet to take a task
  size_t running_ = 0;
  size_t waiting_ = 0;
  size_t executors_ = 0;
  bool is_spinning_ = false;
  bool stopping_ = false;
  // Counts tasks, for a lane that spins.
  std::atomic<uint64_t> submitted_{0};
};

}  // namespace tenon
