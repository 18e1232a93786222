#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tenon::codec {

// Bytes that one byte of a string takes at most as JSON.
inline constexpr size_t kMaxEscaped = 6;

// Writes bytes as they stand between the quotes of a JSON string, as RapidJSON does:
// quotes, backslashes and control characters escaped, everything else as it is. There
// is room for kMaxEscaped times as many. Returns the end.
char* WriteEscaped(std::string_view bytes, char* out);

inline void AppendEscaped(std::string_view bytes, std::string* out) {
  const size_t start = out->size();
  out->resize(start + kMaxEscaped * bytes.size());
  out->resize(static_cast<size_t>(WriteEscaped(bytes, out->data() + start) - out->data()));
}

}  // namespace tenon::codec
