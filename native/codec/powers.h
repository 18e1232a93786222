#pragma once

#include <array>
#include <cstddef>

#include "codec/wide.h"

namespace tenon::codec {

// Powers of ten as binary fractions: the first 128 bits of 10^q (the first of them
// is 1), the rest cut off. What 10^q is times those bits as an integer is
// 2^PowerExponent(q).
inline constexpr int kMinPower = -342;
inline constexpr int kMaxPower = 324;
// From 0 to here nothing is cut off: 5^55 has 128 bits.
inline constexpr int kMaxExactPower = 55;

extern const std::array<Wide, kMaxPower - kMinPower + 1> kPowers;

inline const Wide& Power(int q) { return kPowers[static_cast<size_t>(q - kMinPower)]; }

// floor(q * log2(10)) - 127; exact for |q| up to 1650.
constexpr int PowerExponent(int q) { return ((217706 * q) >> 16) - 127; }

}  // namespace tenon::codec
