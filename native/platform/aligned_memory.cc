#include "platform/aligned_memory.h"

#include <cstdint>
#include <cstdlib>
#include <limits>

namespace tenon {

// Aligned here rather than by the C library: what glibc's aligned functions (2.37 and before) carve
// out of a larger block is too small for the next request of the same size once it is freed, and a
// loop that allocates and frees grows by one tensor a turn. And calloc need not touch fresh pages.
std::shared_ptr<void> AllocateAligned(size_t byte_length, bool zeroed) {
  if (byte_length > std::numeric_limits<size_t>::max() - kTensorAlignment) return nullptr;
  const size_t size = byte_length + kTensorAlignment;
  void* const block = zeroed ? std::calloc(size, 1) : std::malloc(size);
  if (block == nullptr) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(block);
  static_assert((kTensorAlignment & (kTensorAlignment - 1)) == 0);
  const uintptr_t aligned = (address + kTensorAlignment - 1) & ~uintptr_t{kTensorAlignment - 1};
  return {reinterpret_cast<void*>(aligned), [block](void*) { std::free(block); }};
}

}  // namespace tenon
