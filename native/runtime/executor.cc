#include "runtime/executor.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace tenon {

Executor::Executor(size_t lanes, size_t max_queue)
    : max_lanes_(std::max<size_t>(lanes, 1)), max_queue_(max_queue) {}

Executor::~Executor() { Shutdown(); }

Status Executor::Submit(Task task) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopping_) return {StatusCode::kModelClosed, "expected an open model, received a closed one"};
  // A task that a free lane will take does not count as waiting, whether that
  // lane sleeps, starts, or is still to be started.
  if (queue_.size() >= max_queue_ + (max_lanes_ - running_)) {
    return {StatusCode::kQueueFull, "expected fewer than " + std::to_string(max_queue_) +
                                        " runs waiting, received one more"};
  }
  queue_.push_back(std::move(task));
  if (idle_ >= queue_.size() || lanes_.size() == max_lanes_) {
    lock.unlock();
    work_.notify_one();
    return {};
  }
  try {
    lanes_.emplace_back([this] { RunLane(); });
  } catch (const std::system_error& error) {
    if (lanes_.empty()) {
      queue_.pop_back();
      return {StatusCode::kOutOfMemory,
              std::string("expected a thread for the model, but none starts: ") + error.what()};
    }
    work_.notify_one();
  }
  return {};
}

void Executor::Shutdown() {
  std::deque<Task> dropped;
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

void Executor::RunLane() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    ++idle_;
    work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (stopping_) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    lock.unlock();
    task();
    task = nullptr;  // what the task holds is released outside the lock
    lock.lock();
    --running_;
  }
}

}  // namespace tenon
