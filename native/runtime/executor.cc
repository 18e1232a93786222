#include "runtime/executor.h"

#include <algorithm>
#include <mutex>
#include <string>

namespace tenon {
namespace {

thread_local const Executor* current_executor = nullptr;

}  // namespace

Executor::Executor(std::shared_ptr<LanePool> pool, size_t max_queue, double weight)
    : Member(weight), pool_(std::move(pool)), max_queue_(max_queue) {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  ++pool_->executors_;
}

Executor::Executor(size_t lanes, size_t max_queue)
    : Executor(LanePool::Create({.lanes = lanes}), max_queue) {}

Executor::~Executor() {
  Shutdown();
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  --pool_->executors_;
}

Result<Executor::Ticket> Executor::Submit(Task task, int priority) {
  Task refused;  // destroyed outside the lock
  std::unique_lock<std::mutex> lock(pool_->mutex_);
  if (stopping_) {
    return Status(StatusCode::kModelClosed, "expected an open model, received a closed one");
  }
  // A task that a free lane will take does not count as waiting, whether that
  // lane sleeps, starts, or is still to be started. What waits in other queues
  // takes lanes, too.
  const size_t of_others = pool_->waiting_ - queue_.size();
  const size_t free_lanes = pool_->FreeLanes();
  if (queue_.size() >= max_queue_ + (free_lanes > of_others ? free_lanes - of_others : 0)) {
    return Status(StatusCode::kQueueFull, "expected fewer than " + std::to_string(max_queue_) +
                                              " runs waiting, received one more");
  }
  const Ticket ticket{-static_cast<int64_t>(priority), submitted_++};
  queue_.emplace(ticket, std::move(task));
  ++pool_->waiting_;
  if (queue_.size() == 1) pool_->fair_share_.Add(this);
  LanePool::Lane* lane = nullptr;
  Status woken = pool_->Wake(&lane);
  if (woken.ok()) {
    lock.unlock();
    if (lane != nullptr) lane->woken.notify_one();
    return ticket;
  }
  refused = std::move(queue_[ticket]);
  queue_.erase(ticket);
  --pool_->waiting_;
  if (queue_.empty()) pool_->fair_share_.Remove(this);
  return woken;
}

bool Executor::Remove(Ticket ticket) {
  Task removed;  // destroyed outside the lock
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  const auto found = queue_.find(ticket);
  if (found == queue_.end()) return false;
  removed = std::move(found->second);
  queue_.erase(found);
  --pool_->waiting_;
  if (queue_.empty()) pool_->fair_share_.Remove(this);
  return true;
}

void Executor::Shutdown() {
  std::map<Ticket, Task> dropped;
  std::unique_lock<std::mutex> lock(pool_->mutex_);
  stopping_ = true;
  if (!queue_.empty()) pool_->fair_share_.Remove(this);
  pool_->waiting_ -= queue_.size();
  dropped.swap(queue_);
  lock.unlock();
  dropped.clear();  // outside the lock, and without waiting for those that run
  lock.lock();
  pool_->ended_.wait(lock, [this] { return running_ == 0; });
}

Executor::Load Executor::load() const {
  std::lock_guard<std::mutex> lock(pool_->mutex_);
  return {queue_.size(), running_, pool_->lanes()};
}

bool Executor::IsCurrentThread() const { return current_executor == this; }

Executor::Task Executor::Take() {
  const auto first = queue_.begin();
  Task task = std::move(first->second);
  queue_.erase(first);
  if (queue_.empty()) pool_->fair_share_.Remove(this);
  ++running_;
  return task;
}

bool Executor::EndOne() { return --running_ == 0 && stopping_; }

void Executor::Enter() const { current_executor = this; }

void Executor::Leave() { current_executor = nullptr; }

}  // namespace tenon
