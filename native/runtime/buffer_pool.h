#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace tenon {

// Memory that is needed again and again in much the same sizes: aligned as
// tensors are, not initialised, kept for the next taker when its last share is
// dropped. That may happen on any thread and however late, the pool's own end
// included.
//
// Keeps at most kMostKept buffers of kMostKeptBytes in all, the last used ones.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static constexpr size_t kMostKept = 32;
  static constexpr size_t kMostKeptBytes = size_t{256} << 20;

  static std::shared_ptr<BufferPool> Create() {
    return std::shared_ptr<BufferPool>(new BufferPool);
  }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // At least `byte_length` bytes; null where there is no memory.
  std::shared_ptr<void> Take(size_t byte_length);

  // Lets go of what it keeps, and keeps nothing that comes back from here on.
  void Close();

  // How often Take had to allocate.
  uint64_t allocations() const { return allocations_.load(std::memory_order_relaxed); }
  size_t kept() const;

 private:
  struct Buffer {
    std::shared_ptr<void> memory;
    size_t capacity = 0;
  };

  BufferPool() = default;
  void GiveBack(Buffer buffer);

  mutable std::mutex mutex_;
  std::vector<Buffer> kept_;  // the longest unused first
  size_t kept_bytes_ = 0;
  bool closed_ = false;
  std::atomic<uint64_t> allocations_{0};
};

}  // namespace tenon
