#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace tenon::codec {

// Text that grows at its end. Throws std::bad_alloc where there is no memory, and
// std::length_error above kMaxBytes.
class TextBuffer {
 public:
  // What Node's buffers hold in every version and on every platform.
  static constexpr size_t kMaxBytes = (size_t{1} << 31) - 1;

  TextBuffer() = default;
  ~TextBuffer() { std::free(data_); }
  TextBuffer(const TextBuffer&) = delete;
  TextBuffer& operator=(const TextBuffer&) = delete;

  size_t size() const { return size_; }
  std::string_view text() const { return {data_, size_}; }

  // A place for so many more bytes at the end, of which Advance says how many are used.
  char* Room(size_t bytes) {
    if (capacity_ - size_ < bytes) Grow(bytes);
    return data_ + size_;
  }
  void Advance(const char* end) { size_ = static_cast<size_t>(end - data_); }

  void Append(std::string_view text) {
    std::memcpy(Room(text.size()), text.data(), text.size());
    size_ += text.size();
  }
  void Append(char c, size_t count) {
    std::memset(Room(count), c, count);
    size_ += count;
  }

  // The memory, which is the taker's from now on; null if it was never used.
  std::shared_ptr<void> Take() {
    size_ = 0;
    capacity_ = 0;
    return {std::exchange(data_, nullptr), std::free};
  }

 private:
  void Grow(size_t bytes) {
    if (bytes > kMaxBytes - size_) throw std::length_error("a text that is too long");
    const size_t wanted = size_ + bytes;
    const size_t capacity = wanted > capacity_ + capacity_ / 2 ? wanted : capacity_ + capacity_ / 2;
    void* const grown = std::realloc(data_, capacity);
    if (grown == nullptr) throw std::bad_alloc();
    data_ = static_cast<char*>(grown);
    capacity_ = capacity;
  }

  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace tenon::codec
