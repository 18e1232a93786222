#include "runtime/executor.h"

#include <algorithm>
#include <string>
#include <system_error>

#include "runtime/exit_guard.h"

namespace tenon {
namespace {

thread_local const Executor* current_executor = nullptr;

}  // namespace

Executor::Executor(size_t lanes, size_t max_queue)
    : max_lanes_(std::max<size_t>(lanes, 1)), max_queue_(max_queue) {}

Executor::~Executor() { Shutdown(); }

Result<Executor::Ticket> Executor::Submit(Task task, int priority) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopping_) {
    return Status(StatusCode::kModelClosed, "expected an open model, received a closed one");
  }
  // A task that a free lane will take does not count as waiting, whether that
  // lane sleeps, starts, or is still to be started.
  if (queue_.size() >= max_queue_ + (max_lanes_ - running_)) {
    return Status(StatusCode::kQueueFull, "expected fewer than " + std::to_string(max_queue_) +
                                              " runs waiting, received one more");
  }
  const Ticket ticket{-static_cast<int64_t>(priority), submitted_++};
  queue_.emplace(ticket, std::move(task));
  if (idle_ >= queue_.size() || lanes_.size() == max_lanes_) {
    lock.unlock();
    work_.notify_one();
    return ticket;
  }
  try {
    lanes_.emplace_back([this] { RunLane(); });
  } catch (const std::system_error& error) {
    if (lanes_.empty()) {
      queue_.erase(ticket);
      return Status(
          StatusCode::kOutOfMemory,
          std::string("expected a thread for the model, but none starts: ") + error.what());
    }
    work_.notify_one();
  }
  return ticket;
}

bool Executor::Remove(Ticket ticket) {
  Task removed;  // destroyed outside the lock
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = queue_.find(ticket);
  if (found == queue_.end()) return false;
  removed = std::move(found->second);
  queue_.erase(found);
  return true;
}

void Executor::Shutdown() {
  std::map<Ticket, Task> dropped;
  std::vector<std::thread> lanes;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
    lanes.swap(lanes_);
  }
  work_.notify_all();
  for (std::thread& lane : lanes) lane.join();
}

Executor::Load Executor::load() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {queue_.size(), running_, max_lanes_};
}

bool Executor::IsCurrentThread() const { return current_executor == this; }

void Executor::RunLane() {
  current_executor = this;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    ++idle_;
    work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (stopping_) return;
    Task task = std::move(queue_.begin()->second);
    queue_.erase(queue_.begin());
    ++running_;
    lock.unlock();
    {
      const ExitGuard::Busy busy;
      task();
      task = nullptr;  // what the task holds is released outside the lock
    }
    lock.lock();
    --running_;
  }
}

}  // namespace tenon
