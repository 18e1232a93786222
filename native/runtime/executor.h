#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "core/status.h"

namespace tenon {

// A bounded queue of tasks and the native threads ("lanes") that take them in
// order. Lanes start when there is work for them and end with the executor.
//
// Every member function may be called from any thread, except that a task must
// not destroy the executor it runs on.
class Executor {
 public:
  using Task = std::function<void()>;

  // At most `lanes` threads (at least 1) and `max_queue` tasks waiting for one.
  Executor(size_t lanes, size_t max_queue);
  // As Shutdown.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Fails with kQueueFull where max_queue tasks wait already, with kOutOfMemory
  // where there is no lane and none can be started, with kModelClosed after
  // Shutdown. A task must not throw.
  Status Submit(Task task);

  // Drops the tasks that wait, lets those that run end, and joins the lanes.
  void Shutdown();

 private:
  void RunLane();

  const size_t max_lanes_;
  const size_t max_queue_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Task> queue_;
  std::vector<std::thread> lanes_;
  size_t idle_ = 0;
  size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace tenon
