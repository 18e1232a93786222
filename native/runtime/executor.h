#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/status.h"

namespace tenon {

// A bounded queue of tasks and the native threads ("lanes") that take them:
// higher priority first, and in order of arrival among equals. Lanes start when
// there is work for them and end with the executor.
//
// Every member function may be called from any thread, except that a task must
// not destroy the executor it runs on.
class Executor {
 public:
  using Task = std::function<void()>;
  // Names a task that waits: its rank and number.
  using Ticket = std::pair<int64_t, uint64_t>;

  // At most `lanes` threads (at least 1) and `max_queue` tasks waiting for one.
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

  // Drops the tasks that wait, lets those that run end, and joins the lanes.
  void Shutdown();

  struct Load {
    size_t waiting;
    size_t running;
    // How many can run at once.
    size_t lanes;
  };
  Load load() const;

  // True on one of this executor's own lanes.
  bool IsCurrentThread() const;

 private:
  void RunLane();

  const size_t max_lanes_;
  const size_t max_queue_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::map<Ticket, Task> queue_;
  uint64_t submitted_ = 0;
  std::vector<std::thread> lanes_;
  size_t idle_ = 0;
  size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace tenon
