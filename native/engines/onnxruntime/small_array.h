#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace tenon::onnxruntime {

// An array whose length is fixed when it is made, in place up to kInPlace
// elements: a run of a small model needs half a dozen of them, and allocating
// each would be a tenth of what the run costs. Elements start as T(); what is
// left over of the place is not touched.
template <typename T>
class SmallArray {
 public:
  explicit SmallArray(size_t size)
      : size_(size), data_(size <= kInPlace ? reinterpret_cast<T*>(few_) : new T[size]()) {
    if (size <= kInPlace) std::uninitialized_value_construct_n(data_, size);
  }
  ~SmallArray() {
    if (size_ <= kInPlace) {
      std::destroy_n(data_, size_);
    } else {
      delete[] data_;
    }
  }
  SmallArray(const SmallArray&) = delete;
  SmallArray& operator=(const SmallArray&) = delete;

  size_t size() const { return size_; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  static constexpr size_t kInPlace = 8;

  const size_t size_;
  alignas(T) std::byte few_[kInPlace * sizeof(T)];
  T* const data_;
};

}  // namespace tenon::onnxruntime
