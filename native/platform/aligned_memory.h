#pragma once

#include <cstddef>
#include <memory>

namespace tenon {

// What TensorFlow needs to use a buffer without copying it (TF_TensorDefaultAlignment)
// and more than ONNX Runtime does.
inline constexpr size_t kTensorAlignment = 64;

// `byte_length` bytes at a multiple of kTensorAlignment, not initialised unless
// `zeroed`; at least one byte, so that the pointer is never null. Null where
// there is no memory.
std::shared_ptr<void> AllocateAligned(size_t byte_length, bool zeroed = false);

}  // namespace tenon
