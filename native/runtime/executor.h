#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "core/status.h"
#include "runtime/fair_share.h"
#include "runtime/lane_pool.h"

namespace tenon {

// A bounded queue of tasks for the lanes of a pool: higher priority first, and in
// order of arrival among equals. Alone in its pool it may use every lane; among
// others it gets its share of them by weight.
//
// Every member function may be called from any thread, except that a task must
// not destroy the executor it runs on.
class Executor : private FairShare::Member {
 public:
  using Task = std::function<void()>;
  // Names a task that waits: its rank and number.
  using Ticket = std::pair<int64_t, uint64_t>;

  // At most `max_queue` tasks wait for a lane.
  Executor(std::shared_ptr<LanePool> pool, size_t max_queue, double weight = 1);
  // With a pool of its own.
  Executor(size_t lanes, size_t max_queue);
  // As Shutdown.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Fails with kQueueFull where max_queue tasks wait already, with kOutOfMemory
  // where there is no lane and none can be started, with kModelClosed after
  // Shutdown. A task must not throw.
  Result<Ticket> Submit(Task task, int priority = 0);

  // Takes a task that still waits out of the queue and destroys it. False where
  // it runs or has run.
  bool Remove(Ticket ticket);

  // Drops the tasks that wait, and lets those that run end.
  void Shutdown();

  struct Load {
    size_t waiting;
    size_t running;
    // How many can run at once, where no other executor has them.
    size_t lanes;
  };
  Load load() const;

  LanePool& pool() const { return *pool_; }

  // True in one of this executor's own tasks.
  bool IsCurrentThread() const;

 private:
  friend class LanePool;

  // For the pool, under its lock: the next task, and the end of one, which is true
  // if a Shutdown may wait for it.
  Task Take();
  bool EndOne();
  // Around a task, without the lock.
  void Enter() const;
  static void Leave();

  const std::shared_ptr<LanePool> pool_;
  const size_t max_queue_;
  // The following under the pool's lock.
  std::map<Ticket, Task> queue_;
  uint64_t submitted_ = 0;
  size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace tenon
