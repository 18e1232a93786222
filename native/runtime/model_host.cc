#include "runtime/model_host.h"

namespace tenon {

ModelHost::~ModelHost() { Shutdown(); }

Status ModelHost::Submit(std::shared_ptr<CancelToken> cancel, Executor::Task task) {
  return executor_.Submit([this, cancel = std::move(cancel), task = std::move(task)] {
    std::list<std::weak_ptr<CancelToken>>::iterator position;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      position = tokens_.insert(tokens_.end(), cancel);
      if (stopping_) cancel->Cancel();
    }
    task();
    std::lock_guard<std::mutex> lock(mutex_);
    tokens_.erase(position);
  });
}

void ModelHost::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const auto& token : tokens_) {
      if (const auto running = token.lock()) running->Cancel();
    }
  }
  executor_.Shutdown();
  session_.reset();
}

}  // namespace tenon
