#include "core/dtype.h"

#include <array>
#include <limits>

namespace tenon {
namespace {

struct DTypeRow {
  std::string_view name;
  int bits;
};

constexpr std::array<DTypeRow, kDTypeCount> kRows = {{
    {"undefined", 0},      {"float32", 32},     {"float64", 64},       {"float16", 16},
    {"bfloat16", 16},      {"int8", 8},         {"uint8", 8},          {"int16", 16},
    {"uint16", 16},        {"int32", 32},       {"uint32", 32},        {"int64", 64},
    {"uint64", 64},        {"bool", 8},         {"string", 0},         {"complex64", 64},
    {"complex128", 128},   {"int4", 4},         {"uint4", 4},          {"int2", 2},
    {"uint2", 2},          {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8},
    {"float8e5m2fnuz", 8}, {"float8e8m0", 8},   {"float4e2m1", 4},     {"float8e4m3b11fnuz", 8},
    {"qint8", 8},          {"quint8", 8},       {"qint16", 16},        {"quint16", 16},
    {"qint32", 32},
}};

}  // namespace

std::string_view DTypeName(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

int DTypeBits(DType dtype) { return kRows[static_cast<size_t>(dtype)].bits; }

bool IsIndexLike(DType dtype) {
  switch (dtype) {
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64: return true;
    default: return false;
  }
}

std::optional<DType> DTypeFromNumber(uint32_t number) {
  if (number == 0 || number >= kDTypeCount) return std::nullopt;
  return static_cast<DType>(number);
}

std::optional<size_t> DTypeByteLength(DType dtype, size_t count) {
  const size_t bits = static_cast<size_t>(DTypeBits(dtype));
  if (bits == 0) return std::nullopt;
  if (bits < 8) {
    const size_t per_byte = 8 / bits;
    return count / per_byte + (count % per_byte != 0 ? 1 : 0);
  }
  const size_t bytes = bits / 8;
  if (count > std::numeric_limits<size_t>::max() / bytes) return std::nullopt;
  return count * bytes;
}

}  // namespace tenon
