#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace tenon {

// Carries results from native threads back to the one thread that may touch
// JavaScript. However many results wait, that thread is woken once: `wake` is
// called only when the queue was empty.
class CompletionQueue {
 public:
  using Completion = std::function<void()>;

  // `wake` is called on the pushing thread and must not use the queue.
  explicit CompletionQueue(std::function<void()> wake) : wake_(std::move(wake)) {}
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  // Any thread. After Close the completion is dropped.
  void Push(Completion completion) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;
      waiting_.push_back(std::move(completion));
      if (waiting_.size() > 1) return;
    }
    // With a lock of its own, by which Close knows that none is under way: who is woken
    // comes for the results at once and would run into the other.
    std::lock_guard<std::mutex> lock(waking_);
    if (!silent_) wake_();
  }

  // Everything pushed so far, in that order.
  std::vector<Completion> Drain() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(waiting_, {});
  }

  // After it returns `wake` is neither running nor called again.
  void Close() {
    std::vector<Completion> dropped;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
      dropped.swap(waiting_);
    }
    std::lock_guard<std::mutex> lock(waking_);
    silent_ = true;
  }

 private:
  std::function<void()> wake_;
  std::mutex mutex_;
  std::vector<Completion> waiting_;
  bool closed_ = false;
  std::mutex waking_;
  bool silent_ = false;
};

}  // namespace tenon
