#include "codec/decimal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <compare>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace tenon::codec {
namespace {

// --- Multi-word arithmetic, for the few numbers that need it ---

class BigNumber {
 public:
  explicit BigNumber(uint64_t value) {
    for (; value > 0; value >>= 32) words_.push_back(static_cast<uint32_t>(value));
  }

  void MultiplyAdd(uint32_t factor, uint32_t summand) {
    uint64_t carry = summand;
    for (uint32_t& word : words_) {
      carry += uint64_t{word} * factor;
      word = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    if (carry > 0) words_.push_back(static_cast<uint32_t>(carry));
  }

  void MultiplyByPowerOf5(int64_t power) {
    constexpr uint32_t k5To13 = 1220703125;
    for (; power >= 13; power -= 13) MultiplyAdd(k5To13, 0);
    for (; power > 0; --power) MultiplyAdd(5, 0);
  }

  void ShiftLeft(int64_t bits) {
    if (words_.empty()) return;
    const int part = static_cast<int>(bits % 32);
    if (part > 0) MultiplyAdd(uint32_t{1} << part, 0);
    words_.insert(words_.begin(), static_cast<size_t>(bits / 32), 0);
  }

  std::strong_ordering operator<=>(const BigNumber& other) const {
    if (words_.size() != other.words_.size()) return words_.size() <=> other.words_.size();
    return std::lexicographical_compare_three_way(words_.rbegin(), words_.rend(),
                                                  other.words_.rbegin(), other.words_.rend());
  }

 private:
  // Least significant first, without zeros at the end.
  std::vector<uint32_t> words_;
};

// The middle between two doubles has at most 767 significant digits. One more digit
// says whether anything follows them.
constexpr size_t kMaxDigits = 768;

// A number's significant digits as an integer times a power of ten.
struct Digits {
  std::string text;  // no zero in front; empty for zero
  int64_t exponent = 0;
};

Digits SignificantDigits(std::string_view integer, std::string_view fraction, int64_t exponent) {
  Digits digits;
  digits.exponent = exponent;
  bool cut = false;
  const auto add = [&](std::string_view part, bool behind_point) {
    for (const char digit : part) {
      if (digits.text.empty() && digit == '0') {
        if (behind_point) --digits.exponent;
        continue;
      }
      if (digits.text.size() < kMaxDigits) {
        digits.text.push_back(digit);
        if (behind_point) --digits.exponent;
      } else {
        cut = cut || digit != '0';
        if (!behind_point) ++digits.exponent;
      }
    }
  };
  add(integer, false);
  add(fraction, true);
  if (cut) {
    digits.text.push_back('1');
    --digits.exponent;
  }
  return digits;
}

// Compares digits * 10^exponent with mantissa * 2^binary.
std::strong_ordering Compare(const Digits& digits, uint64_t mantissa, int64_t binary) {
  BigNumber decimal(0);
  for (size_t i = 0; i < digits.text.size(); i += 9) {
    uint32_t part = 0;
    uint32_t factor = 1;
    for (size_t j = i; j < std::min(i + 9, digits.text.size()); ++j) {
      part = part * 10 + static_cast<uint32_t>(digits.text[j] - '0');
      factor *= 10;
    }
    decimal.MultiplyAdd(factor, part);
  }
  BigNumber other(mantissa);
  // 10^e is 5^e * 2^e; what is negative goes to the other side.
  if (digits.exponent >= 0) {
    decimal.MultiplyByPowerOf5(digits.exponent);
  } else {
    other.MultiplyByPowerOf5(-digits.exponent);
  }
  const int64_t shift = digits.exponent - binary;
  if (shift >= 0) {
    decimal.ShiftLeft(shift);
  } else {
    other.ShiftLeft(-shift);
  }
  return decimal <=> other;
}

uint64_t FirstDigits(const Digits& digits, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value = value * 10 + static_cast<uint64_t>(digits.text[i] - '0');
  }
  return value;
}

// The digits' nearest double from one at most one step below it.
double RoundUpFrom(const Digits& digits, double below) {
  const uint64_t bits = std::bit_cast<uint64_t>(below);
  const uint64_t biased = bits >> 52;
  const uint64_t mantissa =
      (bits & ((uint64_t{1} << 52) - 1)) | (biased > 0 ? uint64_t{1} << 52 : 0);
  const int64_t exponent = static_cast<int64_t>(std::max<uint64_t>(biased, 1)) - 1075;
  const auto order = Compare(digits, 2 * mantissa + 1, exponent - 1);
  const bool up = order > 0 || (order == 0 && (mantissa & 1) != 0);
  return std::bit_cast<double>(bits + (up ? 1 : 0));
}

// --- Writing ---

constexpr std::array<char, 200> MakePairs() {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}
constexpr std::array<char, 200> kPairs = MakePairs();

void Write8Digits(char* out, uint32_t number) {
  const uint32_t high = number / 10000;
  const uint32_t low = number % 10000;
  std::memcpy(out, &kPairs[2 * (high / 100)], 2);
  std::memcpy(out + 2, &kPairs[2 * (high % 100)], 2);
  std::memcpy(out + 4, &kPairs[2 * (low / 100)], 2);
  std::memcpy(out + 6, &kPairs[2 * (low % 100)], 2);
}

// Exactly `count` digits, 6, 9 or 17.
void WriteDigits(char* out, uint64_t number, int count) {
  if (count == 17) {
    const uint64_t high = number / 100'000'000;
    Write8Digits(out + 9, static_cast<uint32_t>(number % 100'000'000));
    number = high;
    count = 9;
  }
  uint32_t rest = static_cast<uint32_t>(number);
  if (count == 9) {
    Write8Digits(out + 1, rest % 100'000'000);
    out[0] = static_cast<char>('0' + rest / 100'000'000);
    return;
  }
  for (int i = count - 2; i >= 0; i -= 2) {
    std::memcpy(out + i, &kPairs[2 * (rest % 100)], 2);
    rest /= 100;
  }
}

// As "%.<precision>g" writes `count` digits of a number, the first of which stands
// for 10^exponent, and ".0" where that leaves no sign of a fraction.
char* WriteGeneral(char* out, const char* digits, int count, int exponent, int precision) {
  while (count > 1 && digits[count - 1] == '0') --count;
  const size_t length = static_cast<size_t>(count);
  if (exponent < -4 || exponent >= precision) {
    *out++ = digits[0];
    if (count > 1) {
      *out++ = '.';
      std::memcpy(out, digits + 1, length - 1);
      out += count - 1;
    }
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    int rest = exponent < 0 ? -exponent : exponent;
    if (rest >= 100) {
      *out++ = static_cast<char>('0' + rest / 100);
      rest %= 100;
    }
    std::memcpy(out, &kPairs[static_cast<size_t>(2 * rest)], 2);
    return out + 2;
  }
  if (exponent < 0) {
    std::memcpy(out, "0.000", 5);
    out += 1 - exponent;
    std::memcpy(out, digits, length);
    return out + count;
  }
  const int before = exponent + 1;
  if (count <= before) {
    std::memcpy(out, digits, length);
    std::memset(out + count, '0', static_cast<size_t>(before - count));
    out += before;
    std::memcpy(out, ".0", 2);
    return out + 2;
  }
  std::memcpy(out, digits, static_cast<size_t>(before));
  out[before] = '.';
  std::memcpy(out + before + 1, digits + before, length - static_cast<size_t>(before));
  return out + count + 1;
}

// Whether the six digits `number` * 10^`exponent` are read as `expected`, a float or a double.
bool ReadsAs(uint64_t number, int exponent, double expected) {
  const auto read = NearestDouble(number, exponent);
  if (read) return *read == expected;
  return NearestDoubleExactly(std::to_string(number), "", exponent) == expected;
}

// Whether 29 bits of a double that a normal float has not are those of the middle between two
// floats.
bool IsMiddleOfFloats(double number) {
  constexpr uint64_t kMiddle = uint64_t{1} << 28;
  return (std::bit_cast<uint64_t>(number) & (2 * kMiddle - 1)) == kMiddle;
}

bool ReadsAs(uint64_t number, int exponent, float expected) {
  const auto near = NearestDouble(number, exponent);
  if (near && !IsMiddleOfFloats(*near) && expected >= std::numeric_limits<float>::min()) {
    return static_cast<float>(*near) == expected;
  }
  const std::string text = std::to_string(number);
  const double read = near ? *near : NearestDoubleExactly(text, "", exponent);
  float rounded = static_cast<float>(read);
  // In the middle between two floats the double hides on which side the digits are.
  const float other = std::nextafter(
      rounded, read > static_cast<double>(rounded) ? std::numeric_limits<float>::infinity() : 0.0f);
  const double middle = (static_cast<double>(rounded) + static_cast<double>(other)) / 2;
  if (read == middle && read != static_cast<double>(rounded)) {
    const Digits digits = SignificantDigits(text, "", exponent);
    const uint64_t bits = std::bit_cast<uint64_t>(read);
    const uint64_t mantissa = (bits & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
    const auto order = Compare(digits, mantissa, static_cast<int64_t>(bits >> 52) - 1075);
    if (order > 0) rounded = std::max(rounded, other);
    if (order < 0) rounded = std::min(rounded, other);
  }
  return rounded == expected;
}

// Through the standard library, which is exact and slow.
template <typename Float>
char* WriteExactly(char* out, Float number, int precision) {
  for (const int digits : {6, precision}) {
    char* const end = std::to_chars(out, out + kMaxDecimalLength, static_cast<double>(number),
                                    std::chars_format::scientific, digits - 1)
                          .ptr;
    // "d.dddde-XX", without the point if there is one digit.
    char text[kMaxDecimalLength];
    int count = 0;
    const char* at = out;
    for (; *at != 'e'; ++at) {
      if (*at != '.') text[count++] = *at;
    }
    int exponent = 0;
    std::from_chars(at[1] == '+' ? at + 2 : at + 1, end, exponent);
    if (digits == 6) {
      uint64_t value = 0;
      std::from_chars(text, text + count, value);
      if (!ReadsAs(value, exponent - 5, number)) continue;
    }
    return WriteGeneral(out, text, count, exponent, digits);
  }
  return out;
}

constexpr uint64_t PowerOfTen(int exponent) {
  uint64_t power = 1;
  for (; exponent > 0; --exponent) power *= 10;
  return power;
}

// A positive, finite number that is a normal double.
template <typename Float>
char* WritePositive(char* out, Float number) {
  // All digits that a number of this type can need.
  constexpr int kDigits = std::numeric_limits<Float>::max_digits10;
  constexpr uint64_t kTop = PowerOfTen(kDigits);
  constexpr uint64_t kSixth = PowerOfTen(kDigits - 6);
  // How far six digits that read back as the number can be from it, in units of the
  // last of all digits: half of what one step of the number is, and one for rounding.
  constexpr uint64_t kNear = sizeof(Float) == sizeof(float) ? 61 : 13;

  const uint64_t pattern = std::bit_cast<uint64_t>(static_cast<double>(number));
  const int biased = static_cast<int>(pattern >> 52);
  if (biased == 0 || number < std::numeric_limits<Float>::min()) {
    return WriteExactly(out, number, kDigits);
  }
  const uint64_t factor = (pattern | uint64_t{1} << 52) << 11;
  const int binary = biased - 1023;
  // floor(log10(2^binary)): what is larger may have one digit more.
  int exponent = (binary * 78913) >> 18;
  uint64_t digits = 0;
  for (;; ++exponent) {
    const int power = kDigits - 1 - exponent;
    Wide product = Multiply(factor, Power(power).high);
    const Wide lower = Multiply(factor, Power(power).low);
    product.low += lower.high;
    if (product.low < lower.high) ++product.high;
    // The number times 10^power is product * 2^-point.
    const int point = -(binary - 63 + PowerExponent(power) + 64 + 64);
    digits = product.high >> point;
    const uint64_t half = uint64_t{1} << (point - 1);
    const uint64_t rest = product.high & (2 * half - 1);
    // What is cut off adds less than 2 to product.low; a tie needs all of it.
    if ((rest == half && product.low == 0) ||
        (rest + 1 == half && product.low >= ~uint64_t{0} - 2)) {
      return WriteExactly(out, number, kDigits);
    }
    if (rest >= half) ++digits;
    // Rounded up to one digit more it is the next power of ten, with the next exponent.
    if (digits < kTop) break;
  }

  char text[kDigits];
  const uint64_t beyond = digits % kSixth;
  if (beyond <= kNear || beyond >= kSixth - kNear) {
    uint64_t six = digits / kSixth + (beyond <= kNear ? 0 : 1);
    int six_exponent = exponent;
    if (six == 1'000'000) {
      six = 100'000;
      ++six_exponent;
    }
    if (ReadsAs(six, six_exponent - 5, number)) {
      WriteDigits(text, six, 6);
      return WriteGeneral(out, text, 6, six_exponent, 6);
    }
  }
  WriteDigits(text, digits, kDigits);
  return WriteGeneral(out, text, kDigits, exponent, kDigits);
}

template <typename Float>
char* Write(char* out, Float number) {
  if (std::isnan(number)) {
    std::memcpy(out, "NaN", 3);
    return out + 3;
  }
  if (std::signbit(number)) {
    *out++ = '-';
    number = -number;
  }
  if (std::isinf(number)) {
    std::memcpy(out, "Infinity", 8);
    return out + 8;
  }
  if (number == 0) {
    std::memcpy(out, "0.0", 3);
    return out + 3;
  }
  return WritePositive(out, number);
}

}  // namespace

double NearestDoubleExactly(std::string_view integer, std::string_view fraction, int64_t exponent) {
  const Digits digits = SignificantDigits(integer, fraction, exponent);
  const auto count = static_cast<int64_t>(digits.text.size());
  if (count == 0 || count + digits.exponent < kMinPower) return 0;
  if (count + digits.exponent > 310) return std::numeric_limits<double>::infinity();
  const size_t first = std::min<size_t>(digits.text.size(), 19);
  const uint64_t leading = FirstDigits(digits, first);
  const int64_t leading_exponent = digits.exponent + count - static_cast<int64_t>(first);
  const auto low = NearestDouble(leading, leading_exponent);
  if (low && first == digits.text.size()) return *low;
  const auto high = NearestDouble(leading + 1, leading_exponent);
  if (low && high && *low == *high) return *low;

  // The double below the first digits, cut off instead of rounded. It is at most one step below
  // what the number rounds to.
  using namespace internal;
  const int zeros = std::countl_zero(leading);
  if (leading_exponent < kMinPower) return RoundUpFrom(digits, 0);
  const Wide product = Multiply(leading << zeros, Power(static_cast<int>(leading_exponent)).high);
  const int shift = static_cast<int>(product.high >> 63) ^ 1;
  const uint64_t bits = shift == 0 ? product.high : product.high << 1 | product.low >> 63;
  const int binary = 63 + 128 - shift + PowerExponent(static_cast<int>(leading_exponent)) - zeros;
  if (binary > kBias) return std::numeric_limits<double>::infinity();
  const int below = BitsBelow(binary);
  return RoundUpFrom(digits, below >= 64 ? 0 : Compose(bits >> below, binary));
}

char* WriteDecimal(char* out, float number) { return Write(out, number); }
char* WriteDecimal(char* out, double number) { return Write(out, number); }

}  // namespace tenon::codec
