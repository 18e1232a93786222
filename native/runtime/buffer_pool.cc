#include "runtime/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "platform/aligned_memory.h"

namespace tenon {
namespace {

constexpr size_t kLeastCapacity = 4096;

// Rounded up to steps of an eighth of a power of two, so that lengths which vary
// a little share buffers.
size_t CapacityFor(size_t byte_length) {
  if (byte_length <= kLeastCapacity) return kLeastCapacity;
  const size_t step = std::bit_floor(byte_length) / 8;
  if (byte_length > std::numeric_limits<size_t>::max() - step) return byte_length;
  return (byte_length + step - 1) / step * step;
}

}  // namespace

std::shared_ptr<void> BufferPool::Take(size_t byte_length) {
  Buffer buffer;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto best = kept_.end();
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      // One of twice the size would be missed by whoever needs that much.
      if (it->capacity < byte_length || it->capacity / 2 > std::max(byte_length, kLeastCapacity)) {
        continue;
      }
      if (best == kept_.end() || it->capacity <= best->capacity) best = it;
    }
    if (best != kept_.end()) {
      buffer = std::move(*best);
      kept_.erase(best);
      kept_bytes_ -= buffer.capacity;
    }
  }
  if (buffer.memory == nullptr) {
    buffer.capacity = CapacityFor(byte_length);
    buffer.memory = AllocateAligned(buffer.capacity);
    if (buffer.memory == nullptr) return nullptr;
    allocations_.fetch_add(1, std::memory_order_relaxed);
  }
  void* const data = buffer.memory.get();
  return {data, [pool = shared_from_this(), buffer = std::move(buffer)](void*) mutable {
            pool->GiveBack(std::move(buffer));
          }};
}

void BufferPool::GiveBack(Buffer buffer) {
  std::vector<Buffer> dropped;  // freed outside the lock
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_ || buffer.capacity > kMostKeptBytes) {
    dropped.push_back(std::move(buffer));
    return;
  }
  kept_bytes_ += buffer.capacity;
  kept_.push_back(std::move(buffer));
  while (kept_.size() > kMostKept || kept_bytes_ > kMostKeptBytes) {
    kept_bytes_ -= kept_.front().capacity;
    dropped.push_back(std::move(kept_.front()));
    kept_.erase(kept_.begin());
  }
}

void BufferPool::Close() {
  std::vector<Buffer> dropped;
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  kept_bytes_ = 0;
  dropped.swap(kept_);
}

size_t BufferPool::kept() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return kept_.size();
}

}  // namespace tenon
