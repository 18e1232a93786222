#include "codec/powers.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tenon::codec {
namespace {

// A number of many bits, least significant word first, with as much arithmetic as
// the table takes. Words of 32 bits, so that a product and a remainder fit 64.
template <size_t kWords>
struct Number {
  std::array<uint32_t, kWords> words{};

  constexpr void MultiplyBy5() {
    uint64_t carry = 0;
    for (uint32_t& word : words) {
      carry += uint64_t{word} * 5;
      word = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }

  // Rounds down. Twice by 5 is once by 25, also where both round down.
  constexpr void DivideBy5() {
    uint64_t rest = 0;
    for (size_t i = kWords; i-- > 0;) {
      rest = (rest << 32) | words[i];
      words[i] = static_cast<uint32_t>(rest / 5);
      rest %= 5;
    }
  }

  constexpr Wide First128Bits() const {
    size_t last = kWords;
    while (words[last - 1] == 0) --last;
    const int shift = std::countl_zero(words[last - 1]);
    // Five words have at least 129 bits behind the zeros at their front.
    const auto word = [&](size_t i) -> uint64_t { return last > i ? words[last - 1 - i] : 0; };
    const auto bits = [&](size_t i) -> uint64_t {
      return static_cast<uint32_t>(((word(i) << 32 | word(i + 1)) << shift) >> 32);
    };
    return {bits(0) << 32 | bits(1), bits(2) << 32 | bits(3)};
  }
};

constexpr auto MakePowers() {
  std::array<Wide, kMaxPower - kMinPower + 1> powers{};
  // 10^q and 5^q have the same first bits. 5^324 has 753 bits.
  Number<24> power;
  power.words[0] = 1;
  for (int q = 0; q <= kMaxPower; ++q) {
    powers[static_cast<size_t>(q - kMinPower)] = power.First128Bits();
    power.MultiplyBy5();
  }
  // Of 2^959 as many bits are left after 342 divisions (795 bits) as are needed.
  Number<30> fraction;
  fraction.words[29] = uint32_t{1} << 31;
  for (int q = -1; q >= kMinPower; --q) {
    fraction.DivideBy5();
    powers[static_cast<size_t>(q - kMinPower)] = fraction.First128Bits();
  }
  return powers;
}

}  // namespace

constexpr std::array<Wide, kMaxPower - kMinPower + 1> kPowers = MakePowers();

}  // namespace tenon::codec
