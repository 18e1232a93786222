#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tenon {

// Element types of every engine under one numbering. The numbers cross into
// TypeScript (lib/tensor/dtypes.ts holds the same table; a test compares both),
// so they are written out and never reused.
enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kFloat64 = 2,
  kFloat16 = 3,
  kBFloat16 = 4,
  kInt8 = 5,
  kUInt8 = 6,
  kInt16 = 7,
  kUInt16 = 8,
  kInt32 = 9,
  kUInt32 = 10,
  kInt64 = 11,
  kUInt64 = 12,
  kBool = 13,
  kString = 14,
  kComplex64 = 15,
  kComplex128 = 16,
  kInt4 = 17,
  kUInt4 = 18,
  kInt2 = 19,
  kUInt2 = 20,
  kFloat8E4M3FN = 21,
  kFloat8E4M3FNUZ = 22,
  kFloat8E5M2 = 23,
  kFloat8E5M2FNUZ = 24,
  kFloat8E8M0 = 25,
  kFloat4E2M1 = 26,
  kFloat8E4M3B11FNUZ = 27,
  kQInt8 = 28,
  kQUInt8 = 29,
  kQInt16 = 30,
  kQUInt16 = 31,
  kQInt32 = 32,
};

inline constexpr int kDTypeCount = 33;

// The dtype's public name, "float32" for kFloat32; "undefined" where unknown.
std::string_view DTypeName(DType dtype);

// Bits of one element as Tenon stores it; 0 for strings and kUndefined.
// Types below 8 bits are packed, first element in the low bits.
int DTypeBits(DType dtype);

// Integers of more than one byte: they may index into other tensors. A kernel
// checks an index and reads it again to use it; in between nobody must change it.
bool IsIndexLike(DType dtype);

// A dtype from its number as TypeScript sends it.
std::optional<DType> DTypeFromNumber(uint32_t number);

// Bytes that `count` elements take, rounded up to whole bytes; nullopt where
// that does not fit a size_t, and for strings.
std::optional<size_t> DTypeByteLength(DType dtype, size_t count);

}  // namespace tenon
