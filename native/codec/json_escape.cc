#include "codec/json_escape.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace tenon::codec {
namespace {

// The letter behind the backslash; 'u' for those without one of their own, 0 for what
// stands for itself.
constexpr std::array<char, 256> MakeLetters() {
  std::array<char, 256> letters{};
  for (size_t i = 0; i < 0x20; ++i) letters[i] = 'u';
  letters['\b'] = 'b';
  letters['\t'] = 't';
  letters['\n'] = 'n';
  letters['\f'] = 'f';
  letters['\r'] = 'r';
  letters['"'] = '"';
  letters['\\'] = '\\';
  return letters;
}
constexpr std::array<char, 256> kLetters = MakeLetters();
constexpr std::string_view kHex = "0123456789ABCDEF";

}  // namespace

char* WriteEscaped(std::string_view bytes, char* out) {
  size_t plain = 0;
  const auto copy_plain = [&](size_t end) {
    std::memcpy(out, bytes.data() + plain, end - plain);
    out += end - plain;
    plain = end + 1;
  };
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const char letter = kLetters[byte];
    if (letter == 0) continue;
    copy_plain(i);
    *out++ = '\\';
    *out++ = letter;
    if (letter != 'u') continue;
    *out++ = '0';
    *out++ = '0';
    *out++ = kHex[byte >> 4];
    *out++ = kHex[byte & 15];
  }
  if (!bytes.empty()) copy_plain(bytes.size());
  return out;
}

}  // namespace tenon::codec
