#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tenon::tensorflow {

// Reading protobuf's wire format, as far as Tenon looks into messages itself.

// Takes a number from the front; nothing where none ends within 64 bits.
inline std::optional<uint64_t> TakeVarint(std::string_view* bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes->front());
    bytes->remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

struct WireField {
  uint32_t number = 0;
  uint64_t varint = 0;     // where it is one
  std::string_view bytes;  // of a message, a string, or a number of fixed width
};

// Takes a field from the front; nothing at the end, and where what is left is none.
inline std::optional<WireField> TakeField(std::string_view* bytes) {
  const auto tag = TakeVarint(bytes);
  if (!tag) return std::nullopt;
  WireField field;
  field.number = static_cast<uint32_t>(*tag >> 3);
  std::optional<uint64_t> length;
  switch (*tag & 7) {
    case 0: {
      const auto value = TakeVarint(bytes);
      if (!value) return std::nullopt;
      field.varint = *value;
      return field;
    }
    case 1: length = 8; break;
    case 2: length = TakeVarint(bytes); break;
    case 5: length = 4; break;
    default: return std::nullopt;
  }
  if (!length || *length > bytes->size()) return std::nullopt;
  field.bytes = bytes->substr(0, *length);
  bytes->remove_prefix(*length);
  return field;
}

}  // namespace tenon::tensorflow
