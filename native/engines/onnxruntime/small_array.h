#pragma once

#include <array>
#include <cstddef>
#include <memory>

namespace tenon::onnxruntime {

// An array whose length is fixed when it is made, in place up to kInPlace
// elements: a run of a small model needs half a dozen of them, and allocating
// each would be a tenth of what the run costs. Elements start as T().
template <typename T>
class SmallArray {
 public:
  explicit SmallArray(size_t size) : size_(size) {
    if (size > kInPlace) many_ = std::make_unique<T[]>(size);
  }
  SmallArray(const SmallArray&) = delete;
  SmallArray& operator=(const SmallArray&) = delete;

  size_t size() const { return size_; }
  T* data() { return many_ != nullptr ? many_.get() : few_.data(); }
  const T* data() const { return many_ != nullptr ? many_.get() : few_.data(); }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }

 private:
  static constexpr size_t kInPlace = 8;

  size_t size_;
  std::array<T, kInPlace> few_ = {};
  std::unique_ptr<T[]> many_;
};

}  // namespace tenon::onnxruntime
