#include "runtime/log_queue.h"

#include <array>
#include <cstdio>

namespace tenon {
namespace {

void WriteToStderr(const LogRecord& record) {
  static constexpr std::array<const char*, 5> kNames = {"verbose", "info", "warning", "error",
                                                        "fatal"};
  const auto index = static_cast<size_t>(record.severity);
  std::fprintf(stderr, "[%s:%s, %s] %s\n", record.category.c_str(),
               index < kNames.size() ? kNames[index] : "log", record.location.c_str(),
               record.message.c_str());
}

}  // namespace

LogQueue& LogQueue::Get() {
  static auto* queue = new LogQueue;
  return *queue;
}

void LogQueue::Write(LogRecord record) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (listener_ != nullptr) {
      if (waiting_.records.size() >= kMaxWaiting) {
        ++waiting_.dropped;
        return;
      }
      waiting_.records.push_back(std::move(record));
      if (waiting_.records.size() == 1) listener_->wake();
      return;
    }
  }
  WriteToStderr(record);
}

void LogQueue::Listen(std::shared_ptr<Listener> listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  listener_ = std::move(listener);
  // What the one before has not fetched is the new one's.
  if (!waiting_.records.empty()) listener_->wake();
}

void LogQueue::Unlisten(const std::shared_ptr<Listener>& listener) {
  Batch left;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (listener_ != listener) return;
    listener_ = nullptr;
    left = std::exchange(waiting_, {});
  }
  for (const LogRecord& record : left.records) WriteToStderr(record);
}

LogQueue::Batch LogQueue::Drain() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(waiting_, {});
}

}  // namespace tenon
