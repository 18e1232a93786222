#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "codec/decimal.h"
#include "codec/json_text.h"

// Compilers find these too large, though there is one place or two where they belong.
#if defined(_MSC_VER)
#define TENON_HOT __forceinline
#define TENON_COLD __declspec(noinline)
#else
#define TENON_HOT [[gnu::always_inline]] inline
#define TENON_COLD [[gnu::noinline]]
#endif

// Numbers on the hot path. A reader returns false, and leaves the cursor, for what is
// no number of its kind.

namespace tenon::codec {

namespace internal {

inline constexpr double kTens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
inline constexpr int kMaxTen = 22;
inline constexpr uint64_t kMaxExactInteger = uint64_t{1} << 53;

inline unsigned DigitAt(const char* at) { return static_cast<unsigned char>(*at) - unsigned{'0'}; }

inline constexpr uint64_t kPowersOfTen[] = {1,      10,      100,       1'000,
                                            10'000, 100'000, 1'000'000, 10'000'000};

// The number that eight bytes are, each of them 0 to 9.
TENON_HOT uint64_t NumberOfEight(uint64_t bytes) {
  // Neighbours to pairs, pairs to fours, fours to the whole.
  bytes = bytes * 10 + (bytes >> 8);
  constexpr uint64_t kPair = 0x000000ff000000ff;
  return (((bytes & kPair) * 0x000f424000000064) +
          (((bytes >> 16) & kPair) * 0x0000271000000001)) >>
         32;
}

// Appends all digits at `at` to `digits` and returns where they end; of more than 19
// `digits` has no use. The byte before `end` is no digit.
//
// Eight at a time. How many of the last eight are digits is computed, because numbers of
// all lengths come one after another and a branch would be mispredicted; that all
// eight are is left to a branch, so that the next do not wait for it.
TENON_HOT const char* ReadDigits(const char* at, const char* end, uint64_t* digits) {
  if constexpr (std::endian::native == std::endian::little) {
    while (end - at >= 8) {
      uint64_t bytes;
      std::memcpy(&bytes, at, 8);
      bytes ^= 0x3030303030303030;
      // The first byte above 9 gets its highest bit; those behind it do not matter.
      const uint64_t others = ((bytes + 0x7676767676767676) | bytes) & 0x8080808080808080;
      if (others == 0) {
        *digits = *digits * 100'000'000 + NumberOfEight(bytes);
        at += 8;
        continue;
      }
      const auto count = static_cast<size_t>(std::countr_zero(others)) / 8;
      // Zeros go in front, and what is behind the digits goes out.
      *digits = *digits * kPowersOfTen[count] + NumberOfEight(bytes << 8 << (56 - 8 * count));
      return at + count;
    }
  }
  for (unsigned digit = DigitAt(at); digit <= 9; digit = DigitAt(++at)) {
    *digits = *digits * 10 + digit;
  }
  return at;
}

// A number of at most 19 significant digits, without its point.
struct Scanned {
  uint64_t digits;
  int64_t exponent;
  bool negative;
};

TENON_HOT bool Scan(const char** at, const char* end, Scanned* scanned) {
  const char* p = *at;
  scanned->negative = *p == '-';
  p += scanned->negative ? 1 : 0;
  const char* const first = p;
  uint64_t digits = DigitAt(p);
  if (digits <= 9 && p[1] == '.') {
    ++p;  // the most frequent kind: what follows need not wait
  } else {
    digits = 0;
    p = ReadDigits(p, end, &digits);
  }
  int64_t count = p - first;
  if (count == 0 || (*first == '0' && count > 1)) return false;
  int64_t exponent = 0;
  if (*p == '.') {
    const char* const fraction = ++p;
    p = ReadDigits(p, end, &digits);
    exponent = fraction - p;
    if (exponent == 0) return false;
    count -= exponent;
  }
  if (count > 19) {
    for (const char* zero = first; *zero == '0' || *zero == '.'; ++zero) count -= *zero == '0';
    if (count > 19) return false;
  }
  if ((*p | 0x20) == 'e') {
    ++p;
    const bool minus = *p == '-';
    if (minus || *p == '+') ++p;
    uint64_t written = 0;
    const char* const start = p;
    p = ReadDigits(p, end, &written);
    // What is near the limits is left to the slow way, which knows what is refused.
    if (p == start || p - start > 4 || written > 300) return false;
    exponent += minus ? -static_cast<int64_t>(written) : static_cast<int64_t>(written);
  }
  scanned->digits = digits;
  scanned->exponent = exponent;
  *at = p;
  return true;
}

TENON_HOT bool Convert(const Scanned& scanned, double* number) {
  const auto [digits, exponent, negative] = scanned;
  double magnitude;
  if (digits <= kMaxExactInteger && exponent >= -kMaxTen && exponent <= kMaxTen) {
    // Both are exact, so that only the quotient or the product is rounded.
    magnitude = static_cast<double>(static_cast<int64_t>(digits));
    magnitude = exponent < 0 ? magnitude / kTens[-exponent] : magnitude * kTens[exponent];
  } else {
    const auto nearest = NearestDouble(digits, exponent);
    if (!nearest) return false;
    magnitude = *nearest;
  }
  *number = negative ? -magnitude : magnitude;
  return true;
}

// A float is the nearest double, rounded again, as TensorFlow Serving has it. Where the
// digits are too many for an exact quotient, one that is off by two units in the
// double's last place still is the same float, unless near the middle between two.
TENON_HOT bool Convert(const Scanned& scanned, float* number) {
  const auto [digits, exponent, negative] = scanned;
  if (digits > kMaxExactInteger && digits >> 63 == 0 && exponent >= -kMaxTen && exponent <= 0) {
    const double magnitude = static_cast<double>(static_cast<int64_t>(digits)) / kTens[-exponent];
    constexpr uint64_t kMiddle = uint64_t{1} << 28;
    const uint64_t below = std::bit_cast<uint64_t>(magnitude) & (2 * kMiddle - 1);
    // All of these are far above the least normal float: 2^53 / 10^22.
    if (below - (kMiddle - 3) > 6) [[likely]] {
      const float rounded = static_cast<float>(magnitude);
      *number = negative ? -rounded : rounded;
      return true;
    }
  }
  double exact;
  if (!Convert(scanned, &exact)) return false;
  *number = static_cast<float>(exact);
  return true;
}

}  // namespace internal

// A number of any kind, however it is written.
TENON_COLD inline bool ReadAnyNumber(Cursor* cursor, double* number) {
  Cursor slow = *cursor;
  NumberText text;
  const char first = slow.Peek();
  if (first != '-' && first != 'N' && first != 'I' && internal::DigitAt(slow.at) > 9) return false;
  if (ReadNumber(&slow, &text) != Fault::kNone) return false;
  *number = text.ToDouble();
  cursor->at = slow.at;
  return true;
}

template <typename T>
  requires std::is_floating_point_v<T>
TENON_HOT bool ReadElement(Cursor* cursor, T* number) {
  const char* at = cursor->at;
  internal::Scanned scanned;
  if (internal::Scan(&at, cursor->end, &scanned) && internal::Convert(scanned, number)) [[likely]] {
    cursor->at = at;
    return true;
  }
  double any;
  if (!ReadAnyNumber(cursor, &any)) return false;
  *number = static_cast<T>(any);
  return true;
}

// Integers as they are written, without a point or an exponent. Those of 8 and 16 bits
// are read as 32 bits and lose the upper ones.
template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
TENON_HOT bool ReadElement(Cursor* cursor, T* number) {
  using Read = std::conditional_t<(sizeof(T) < sizeof(int32_t)), int32_t, T>;
  const char* p = cursor->at;
  const bool negative = *p == '-';
  p += negative ? 1 : 0;
  const char* const first = p;
  uint64_t magnitude = 0;
  p = internal::ReadDigits(p, cursor->end, &magnitude);
  const auto count = p - first;
  if (count == 0 || (*first == '0' && count > 1) || *p == '.' || (*p | 0x20) == 'e') return false;
  // Twenty digits overflow unless they begin with 1 and are still as large then.
  if (count > 20 || (count == 20 && (*first != '1' || magnitude < 10'000'000'000'000'000'000u))) {
    return false;
  }
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<Read>::max());
  constexpr uint64_t kLeast = std::is_signed_v<Read> ? kMost + 1 : 0;
  if (magnitude > (negative ? kLeast : kMost)) return false;
  *number = static_cast<T>(negative ? uint64_t{0} - magnitude : magnitude);
  cursor->at = p;
  return true;
}

inline bool ReadElement(Cursor* cursor, bool* value) {
  const auto is = [cursor](std::string_view literal) {
    if (static_cast<size_t>(cursor->end - cursor->at) < literal.size() ||
        std::memcmp(cursor->at, literal.data(), literal.size()) != 0) {
      return false;
    }
    cursor->at += literal.size();
    return true;
  };
  if (*cursor->at == 't') {
    *value = true;
    return is("true");
  }
  *value = false;
  return *cursor->at == 'f' && is("false");
}

}  // namespace tenon::codec
