#include "platform/aligned_memory.h"

#include <cstring>
#include <limits>
#include <new>

namespace tenon {

std::shared_ptr<void> AllocateAligned(size_t byte_length, bool zeroed) {
  if (byte_length > std::numeric_limits<size_t>::max() - kTensorAlignment) return nullptr;
  void* memory = ::operator new(byte_length == 0 ? 1 : byte_length,
                                std::align_val_t{kTensorAlignment}, std::nothrow);
  if (memory == nullptr) return nullptr;
  if (zeroed) std::memset(memory, 0, byte_length);
  return {memory,
          [](void* pointer) { ::operator delete(pointer, std::align_val_t{kTensorAlignment}); }};
}

}  // namespace tenon
