#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tenon::codec {

// Bytes that text of this length decodes to at most.
constexpr size_t Base64DecodedMost(size_t length) { return length / 4 * 3 + 3; }

// Decodes the standard alphabet into `out`, which has room for
// Base64DecodedMost(text.size()), and returns how many bytes that were. As
// TensorFlow Serving's decoder: padding may be missing, white space is skipped.
// Nothing for anything else.
std::optional<size_t> DecodeBase64(std::string_view text, char* out);

constexpr size_t Base64EncodedLength(size_t length) { return (length + 2) / 3 * 4; }

// Writes Base64EncodedLength(bytes.size()) characters, padded.
void EncodeBase64(std::string_view bytes, char* out);

}  // namespace tenon::codec
