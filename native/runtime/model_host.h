#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "engines/session.h"
#include "runtime/executor.h"

namespace tenon {

// A loaded model and the lanes that run it.
class ModelHost {
 public:
  ModelHost(std::shared_ptr<Session> session, size_t lanes, size_t max_queue)
      : capacity_(lanes + max_queue), session_(std::move(session)), executor_(lanes, capacity_) {}
  // As Shutdown; must not happen on one of the host's own lanes.
  ~ModelHost();

  const ModelInfo& info() const { return session_->info(); }

  // Runs that may be under way or waiting. Whoever submits counts them, because
  // for a caller a run ends when its result arrives, not when its lane is free.
  size_t capacity() const { return capacity_; }

  // Runs on the calling thread.
  Result<std::vector<Value>> Run(const RunRequest& request) { return session_->Run(request); }

  // Queues `task` for a lane. `cancel` is what Shutdown asks to stop; it lives as long as `task`.
  Status Submit(std::shared_ptr<CancelToken> cancel, Executor::Task task);

  // Stops what can be stopped, waits for the rest, and lets the session go.
  // Blocks; afterwards neither Run nor Submit may be called.
  void Shutdown();

 private:
  const size_t capacity_;
  std::mutex mutex_;
  std::list<std::weak_ptr<CancelToken>> tokens_;
  bool stopping_ = false;
  std::shared_ptr<Session> session_;
  // Declared last: lanes end before the session they run goes.
  Executor executor_;
};

}  // namespace tenon
