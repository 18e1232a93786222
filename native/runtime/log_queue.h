#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engines/log_sink.h"

namespace tenon {

// Carries an engine's log to the one thread that asked for it. Any number of
// the engine's threads may write at once, none of them ever waits for the
// reader: what comes while kMaxWaiting records wait is counted and dropped.
//
// One per process, as the engine's logger is. Where nobody listens, records go
// to stderr, as the engine would have written them itself.
class LogQueue : public LogSink {
 public:
  static constexpr size_t kMaxWaiting = 4096;

  // Leaked: the engine's threads outlive static objects.
  static LogQueue& Get();

  LogQueue() = default;

  void Write(LogRecord record) override;

  // Who reads. `wake` is called on a writing thread when the first record comes
  // after a Drain, and must neither block nor use the queue. A later listener
  // takes the place of an earlier one.
  class Listener {
   public:
    explicit Listener(std::function<void()> wake) : wake(std::move(wake)) {}
    const std::function<void()> wake;
  };
  void Listen(std::shared_ptr<Listener> listener);
  // No effect where another has taken its place. Afterwards its wake is neither
  // running nor called again.
  void Unlisten(const std::shared_ptr<Listener>& listener);

  struct Batch {
    std::vector<LogRecord> records;
    size_t dropped = 0;  // after those records
  };
  Batch Drain();

 private:
  std::mutex mutex_;
  std::shared_ptr<Listener> listener_;
  Batch waiting_;
};

}  // namespace tenon
