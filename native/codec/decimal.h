#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

#include "codec/powers.h"
#include "codec/wide.h"

// From decimal digits to the nearest double, and back to digits as TensorFlow
// Serving writes them.

namespace tenon::codec {

// `digits` * 10^`exponent`, rounded to nearest, ties to even. Nothing where the
// product with 128 bits of the power does not tell on which side of the middle
// between two doubles the number lies.
inline std::optional<double> NearestDouble(uint64_t digits, int64_t exponent);

// The same of a number of any length, however near to the middle: the digits before
// and behind the point, and what the exponent says. Slow (multi-word arithmetic).
double NearestDoubleExactly(std::string_view integer, std::string_view fraction, int64_t exponent);

// The longest text that the two below write.
inline constexpr int kMaxDecimalLength = 32;

// Writes a number at `out` as TensorFlow Serving does and returns the end: six
// significant digits as printf("%g") has them if they read back as the same number,
// else nine (float) or seventeen (double) of them; ".0" behind what has neither
// point nor exponent; NaN, Infinity and -Infinity bare.
char* WriteDecimal(char* out, float number);
char* WriteDecimal(char* out, double number);

// --- Implementation of what is on the hot path ---

namespace internal {

// Bits a double's mantissa has, and the least exponent of one that is normal.
inline constexpr int kMantissaBits = 53;
inline constexpr int kMinExponent = -1022;
inline constexpr int kBias = 1023;

// How many of 64 bits lie below a double's last one, where the first stands for 2^exponent.
constexpr int BitsBelow(int exponent) {
  const int normal = 64 - kMantissaBits;
  return exponent < kMinExponent ? normal + (kMinExponent - exponent) : normal;
}

// A double from its mantissa, which may have been rounded up to one bit more.
inline double Compose(uint64_t mantissa, int exponent) {
  const int biased = exponent < kMinExponent ? 0 : exponent + kBias - 1;
  return std::bit_cast<double>((static_cast<uint64_t>(biased) << (kMantissaBits - 1)) + mantissa);
}

}  // namespace internal

inline std::optional<double> NearestDouble(uint64_t digits, int64_t exponent) {
  using namespace internal;
  // 1 * 10^309 is more than the largest double, 2^64 * 10^-343 less than half of the least one.
  if (digits == 0 || exponent < kMinPower) return 0.0;
  if (exponent > 308) return std::bit_cast<double>(uint64_t{0x7ff} << 52);

  const int zeros = std::countl_zero(digits);
  const uint64_t factor = digits << zeros;
  const Wide& power = Power(static_cast<int>(exponent));
  Wide product = Multiply(factor, power.high);
  // What the power has below its first 64 bits adds less than 1 to product.high.
  const int shift = static_cast<int>(product.high >> 63) ^ 1;
  // Computed, not branched on: it is as good as random.
  const auto first_bits = [shift](const Wide& wide) {
    return wide.high << shift | (wide.low >> 63 & static_cast<uint64_t>(shift));
  };
  uint64_t bits = first_bits(product);
  // The first bit stands for 2 to this.
  const int binary = 63 + 128 - shift + PowerExponent(static_cast<int>(exponent)) - zeros;
  if (binary > kBias) return std::bit_cast<double>(uint64_t{0x7ff} << 52);
  const int below = BitsBelow(binary);
  if (below >= 64) return std::nullopt;

  const uint64_t half = uint64_t{1} << (below - 1);
  const uint64_t mask = (uint64_t{2} << (below - 1)) - 1;
  uint64_t rest = bits & mask;
  uint64_t mantissa = bits >> below;
  if (rest - (half - 2) > 2) [[likely]] {
    return Compose(mantissa + (rest > half ? 1 : 0), binary);
  }

  // Near the middle: the other half of the power as well.
  const Wide lower = Multiply(factor, power.low);
  product.low += lower.high;
  if (product.low < lower.high) ++product.high;
  if (product.high >> 63 != static_cast<uint64_t>(shift ^ 1)) return std::nullopt;
  bits = first_bits(product);
  const uint64_t next = product.low << shift;
  rest = bits & mask;
  mantissa = bits >> below;
  const bool exact = exponent >= 0 && exponent <= kMaxExactPower && lower.low == 0;
  if (rest > half || (rest == half && next > 0)) return Compose(mantissa + 1, binary);
  if (rest == half) {
    if (!exact) return std::nullopt;
    return Compose(mantissa + (mantissa & 1), binary);
  }
  // What is cut off adds less than 4 to `next`.
  if (rest + 1 == half && next >= ~uint64_t{0} - 4 && !exact) return std::nullopt;
  return Compose(mantissa, binary);
}

}  // namespace tenon::codec
