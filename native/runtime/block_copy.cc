#include "runtime/block_copy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace tenon {
namespace {

uint16_t ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t ToFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520.0f) return sign | 0x7c00;  // would round to 2^16
  if (size < 0x1p-14f) {
    // Subnormal: a multiple of 2^-24, the nearest, the even one of two.
    return sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f));
  }
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112 << 10));
}

Status NotOf(DType dtype, double value) {
  return {StatusCode::kInvalidArgument, "expected a pad value that " +
                                            std::string(DTypeName(dtype)) + " has, received " +
                                            std::to_string(value)};
}

}  // namespace

Result<Fill> Fill::Of(DType dtype, double value) {
  Fill fill;
  fill.size_ = static_cast<size_t>(DTypeBits(dtype)) / 8;
  const auto write = [&fill](auto element) {
    std::memcpy(fill.element_.data(), &element, sizeof(element));
    return fill;
  };
  const auto integer = [&](auto zero) -> Result<Fill> {
    using Integer = decltype(zero);
    // The limits of 64 bits are no doubles: what rounds up to them is too large.
    const double lowest = static_cast<double>(std::numeric_limits<Integer>::min());
    const double beyond = std::ldexp(1.0, std::numeric_limits<Integer>::digits);
    if (!(value >= lowest && value < beyond) || std::trunc(value) != value) {
      return NotOf(dtype, value);
    }
    return write(static_cast<Integer>(value));
  };
  switch (dtype) {
    case DType::kFloat32:
    case DType::kComplex64: return write(static_cast<float>(value));
    case DType::kFloat64:
    case DType::kComplex128: return write(value);
    case DType::kFloat16: return write(ToFloat16(static_cast<float>(value)));
    case DType::kBFloat16: return write(ToBFloat16(static_cast<float>(value)));
    case DType::kInt8:
    case DType::kQInt8: return integer(int8_t{0});
    case DType::kUInt8:
    case DType::kQUInt8: return integer(uint8_t{0});
    case DType::kInt16:
    case DType::kQInt16: return integer(int16_t{0});
    case DType::kUInt16:
    case DType::kQUInt16: return integer(uint16_t{0});
    case DType::kInt32:
    case DType::kQInt32: return integer(int32_t{0});
    case DType::kUInt32: return integer(uint32_t{0});
    case DType::kInt64: return integer(int64_t{0});
    case DType::kUInt64: return integer(uint64_t{0});
    case DType::kBool:
      if (value != 0 && value != 1) return NotOf(dtype, value);
      return write(static_cast<uint8_t>(value));
    default:
      return Status(StatusCode::kUnsupported, "expected a dtype that can be padded, received " +
                                                  std::string(DTypeName(dtype)) +
                                                  ": its tensors have to be of one shape");
  }
}

Fill Fill::OfElement(const void* element, size_t byte_length) {
  Fill fill;
  fill.size_ = byte_length;
  std::memcpy(fill.element_.data(), element, byte_length);
  return fill;
}

void Fill::Write(char* to, size_t byte_length) const {
  if (byte_length == 0) return;
  bool same = true;
  for (size_t i = 1; i < size_; ++i) same = same && element_[i] == element_[0];
  if (same) {
    std::memset(to, element_[0], byte_length);
    return;
  }
  std::memcpy(to, element_.data(), size_);
  for (size_t done = size_; done < byte_length;) {
    const size_t next = std::min(done, byte_length - done);
    std::memcpy(to + done, to, next);
    done += next;
  }
}

Corner::Corner(size_t element_bytes, const int64_t* small, const int64_t* large, size_t rank) {
  size_t small_step = element_bytes;
  size_t large_step = element_bytes;
  // From the innermost dimension outwards; reversed at the end.
  for (size_t i = rank; i-- > 0;) {
    const auto of_small = static_cast<size_t>(small[i]);
    const auto of_large = static_cast<size_t>(large[i]);
    if (of_small != of_large) {
      levels_.push_back({of_small, of_large, small_step, large_step});
    } else if (!levels_.empty() && levels_.back().small == levels_.back().large) {
      levels_.back().small *= of_small;
      levels_.back().large *= of_large;
    } else if (!levels_.empty()) {
      levels_.push_back({of_small, of_large, small_step, large_step});
    }
    small_step *= of_small;
    large_step *= of_large;
  }
  piece_ = small_step;
  large_bytes_ = large_step;
  is_empty_ = small_step == 0;
  std::reverse(levels_.begin(), levels_.end());
}

void Corner::CopyIn(const char* small, char* large, const Fill& fill) const {
  Visit(
      [&](size_t from, size_t to, size_t length) { std::memcpy(large + to, small + from, length); },
      [&](size_t to, size_t length) { fill.Write(large + to, length); });
}

void Corner::CopyOut(const char* large, char* small) const {
  Visit(
      [&](size_t to, size_t from, size_t length) { std::memcpy(small + to, large + from, length); },
      [](size_t, size_t) {});
}

}  // namespace tenon
