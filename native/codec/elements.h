#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "core/value.h"
#include "platform/aligned_memory.h"

namespace tenon::codec {

// The elements of a tensor while they come in, in memory that grows with them.
class Elements {
 public:
  explicit Elements(DType dtype) : dtype_(dtype) {
    if (dtype == DType::kString) strings_ = std::make_shared<StringTable>();
  }

  DType dtype() const { return dtype_; }
  size_t count() const { return strings_ == nullptr ? count_ : strings_->size(); }

  // Places for elements of `T`, which is as large as the dtype's, behind those there are. The
  // text has `left` more bytes, and `read` had the elements so far.
  template <typename T>
  std::span<T> Room(size_t left, size_t read) {
    if (count_ == capacity_) Grow(sizeof(T), left, read);
    return {static_cast<T*>(memory_.get()) + count_, capacity_ - count_};
  }
  // So many of these places have been written to.
  void Add(size_t count) { count_ += count; }

  StringTable& strings() { return *strings_; }

  // The tensor they are; nothing is left.
  Tensor Take(Shape shape) {
    Tensor tensor;
    tensor.dtype = dtype_;
    tensor.shape = std::move(shape);
    tensor.exclusive = true;
    if (strings_ != nullptr) {
      tensor.strings = std::move(strings_);
      return tensor;
    }
    if (memory_ == nullptr) memory_ = Allocate(0);
    tensor.byte_length = *DTypeByteLength(dtype_, count_);
    tensor.data = memory_.get();
    tensor.owner = std::move(memory_);
    return tensor;
  }

 private:
  static std::shared_ptr<void> Allocate(size_t byte_length) {
    auto memory = AllocateAligned(byte_length);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }

  // To what the rest of the text would hold if it were like the one that was read,
  // and never to more than it can: an element takes two bytes, with what follows it.
  void Grow(size_t element_bytes, size_t left, size_t read) {
    constexpr size_t kFirst = 256;
    const size_t most = count_ + left / 2 + 1;
    size_t wanted = kFirst;
    if (count_ > 0) {
      const double density =
          static_cast<double>(count_) / static_cast<double>(std::max(read, count_));
      const double rest = density * static_cast<double>(left);
      wanted = std::max(count_ + static_cast<size_t>(rest * 1.02) + 16, count_ + count_ / 2);
    }
    capacity_ = std::min(wanted, most);
    auto grown = Allocate(capacity_ * element_bytes);
    if (count_ > 0) std::memcpy(grown.get(), memory_.get(), count_ * element_bytes);
    memory_ = std::move(grown);
  }

  const DType dtype_;
  std::shared_ptr<void> memory_;
  size_t count_ = 0;
  size_t capacity_ = 0;
  std::shared_ptr<StringTable> strings_;
};

}  // namespace tenon::codec
