#pragma once

#include <cstdint>

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

namespace tenon::codec {

// An unsigned number of 128 bits; C++ has none that every compiler knows.
struct Wide {
  uint64_t high = 0;
  uint64_t low = 0;
};

constexpr Wide MultiplyPortably(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xffffffff;
  const uint64_t a_high = a >> 32;
  const uint64_t b_low = b & 0xffffffff;
  const uint64_t b_high = b >> 32;
  const uint64_t low = a_low * b_low;
  const uint64_t middle = a_high * b_low + (low >> 32);
  const uint64_t other = a_low * b_high + (middle & 0xffffffff);
  return {a_high * b_high + (middle >> 32) + (other >> 32), (other << 32) | (low & 0xffffffff)};
}

inline Wide Multiply(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
  __extension__ using Native = unsigned __int128;
  const Native product = static_cast<Native>(a) * b;
  return {static_cast<uint64_t>(product >> 64), static_cast<uint64_t>(product)};
#elif defined(_MSC_VER) && defined(_M_X64)
  Wide product;
  product.low = _umul128(a, b, &product.high);
  return product;
#else
  return MultiplyPortably(a, b);
#endif
}

}  // namespace tenon::codec
