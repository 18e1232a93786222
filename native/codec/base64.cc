#include "codec/base64.h"

#include <array>
#include <cstdint>

namespace tenon::codec {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr uint8_t kNone = 0xff;

constexpr std::array<uint8_t, 256> MakeValues() {
  std::array<uint8_t, 256> values{};
  values.fill(kNone);
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<uint8_t>(kAlphabet[i])] = static_cast<uint8_t>(i);
  }
  return values;
}
constexpr std::array<uint8_t, 256> kValues = MakeValues();

uint8_t ValueOf(char c) { return kValues[static_cast<uint8_t>(c)]; }

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

std::optional<size_t> DecodeBase64(std::string_view text, char* out) {
  char* at = out;
  size_t i = 0;
  // Whole groups without anything between them.
  for (; i + 4 <= text.size(); i += 4) {
    const uint32_t a = ValueOf(text[i]);
    const uint32_t b = ValueOf(text[i + 1]);
    const uint32_t c = ValueOf(text[i + 2]);
    const uint32_t d = ValueOf(text[i + 3]);
    if ((a | b | c | d) > 63) break;
    const uint32_t bits = a << 18 | b << 12 | c << 6 | d;
    at[0] = static_cast<char>(bits >> 16);
    at[1] = static_cast<char>(bits >> 8);
    at[2] = static_cast<char>(bits);
    at += 3;
  }
  uint32_t bits = 0;
  size_t held = 0;
  size_t padding = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (IsSpace(c)) continue;
    if (c == '=' || c == '.') {
      ++padding;
      continue;
    }
    const uint8_t value = ValueOf(c);
    if (value == kNone || padding > 0) return std::nullopt;
    bits = bits << 6 | value;
    if (++held == 4) {
      *at++ = static_cast<char>(bits >> 16);
      *at++ = static_cast<char>(bits >> 8);
      *at++ = static_cast<char>(bits);
      held = 0;
      bits = 0;
    }
  }
  if (held == 1 || (padding > 0 && (held == 0 || padding != 4 - held))) return std::nullopt;
  if (held >= 2) *at++ = static_cast<char>(held == 2 ? bits >> 4 : bits >> 10);
  if (held == 3) *at++ = static_cast<char>(bits >> 2);
  return static_cast<size_t>(at - out);
}

void EncodeBase64(std::string_view bytes, char* out) {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<uint8_t>(bytes[i]); };
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    *out++ = kAlphabet[bits >> 18];
    *out++ = kAlphabet[(bits >> 12) & 63];
    *out++ = kAlphabet[(bits >> 6) & 63];
    *out++ = kAlphabet[bits & 63];
  }
  const size_t rest = bytes.size() - i;
  if (rest == 0) return;
  const uint32_t bits = byte(i) << 16 | (rest == 2 ? byte(i + 1) << 8 : 0);
  *out++ = kAlphabet[bits >> 18];
  *out++ = kAlphabet[(bits >> 12) & 63];
  *out++ = rest == 2 ? kAlphabet[(bits >> 6) & 63] : '=';
  *out = '=';
}

}  // namespace tenon::codec
