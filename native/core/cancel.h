#pragma once

#include <functional>
#include <mutex>
#include <utility>

namespace tenon {

// Asks one load or run to stop. Thread-safe. An engine that can stop a call
// installs a stopper around it; one that cannot ignores the token.
class CancelToken {
 public:
  // True once Cancel was called.
  bool cancelled() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return cancelled_;
  }

  void Cancel() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) return;
    cancelled_ = true;
    if (stopper_) stopper_();
  }

  // While it lives, Cancel calls `stop` (under the token's lock, so `stop` must
  // be short and must not use the token). If the token is already cancelled,
  // `stop` is called at once. After the destructor returns `stop` is not running.
  class Scope {
   public:
    Scope(CancelToken* token, std::function<void()> stop) : token_(token) {
      if (token_ == nullptr) return;
      std::lock_guard<std::mutex> lock(token_->mutex_);
      if (token_->cancelled_) stop();
      token_->stopper_ = std::move(stop);
    }
    ~Scope() {
      if (token_ == nullptr) return;
      std::lock_guard<std::mutex> lock(token_->mutex_);
      token_->stopper_ = nullptr;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CancelToken* token_;
  };

 private:
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  std::function<void()> stopper_;
};

}  // namespace tenon
