#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/status.h"

namespace tenon {

// One element's bytes, to fill memory with.
class Fill {
 public:
  // `value` as the dtype has it, rounded where that is a floating-point type.
  // Fails with kInvalidArgument where an integer type or bool does not have it,
  // with kUnsupported for dtypes that no number stands for.
  static Result<Fill> Of(DType dtype, double value);

  // The element of `byte_length` bytes, at most 16, that is there.
  static Fill OfElement(const void* element, size_t byte_length);

  // `byte_length` is a multiple of the element's.
  void Write(char* to, size_t byte_length) const;

 private:
  std::array<char, 16> element_{};
  size_t size_ = 1;
};

// A row-major array in the corner of a larger one of the same rank. The sizes of
// the larger one were checked: no product of them overflows.
class Corner {
 public:
  Corner(size_t element_bytes, const int64_t* small, const int64_t* large, size_t rank);

  // The two are of one shape.
  bool is_all() const { return levels_.empty(); }

  // Copies `small` into its corner of `large`, and fills the rest of that.
  void CopyIn(const char* small, char* large, const Fill& fill) const;
  // Copies the corner of `large` to `small`.
  void CopyOut(const char* large, char* small) const;

  // Calls `copy(small offset, large offset, length)` for each piece of the corner
  // in order, and `rest(large offset, length)` for what is around it, in bytes.
  template <typename Copy, typename Rest>
  void Visit(const Copy& copy, const Rest& rest) const {
    if (levels_.empty()) {
      if (piece_ > 0) copy(0, 0, piece_);
    } else if (is_empty_) {
      if (large_bytes_ > 0) rest(0, large_bytes_);
    } else {
      VisitLevel(0, 0, 0, copy, rest);
    }
  }

 private:
  // Dimensions from the outermost that differ to the innermost, those that agree
  // taken together. At most 127: each that differs doubles the larger array.
  struct Level {
    size_t small = 1;
    size_t large = 1;
    size_t small_step = 0;  // bytes
    size_t large_step = 0;
  };

  template <typename Copy, typename Rest>
  void VisitLevel(size_t depth, size_t small, size_t large, const Copy& copy,
                  const Rest& rest) const {
    const Level& level = levels_[depth];
    if (depth + 1 == levels_.size()) {
      copy(small, large, level.small * level.small_step);
    } else {
      for (size_t i = 0; i < level.small; ++i) {
        VisitLevel(depth + 1, small + i * level.small_step, large + i * level.large_step, copy,
                   rest);
      }
    }
    if (level.large > level.small) {
      rest(large + level.small * level.large_step, (level.large - level.small) * level.large_step);
    }
  }

  std::vector<Level> levels_;  // empty: of one shape
  size_t piece_ = 0;           // all bytes, where they are of one shape
  size_t large_bytes_ = 0;
  bool is_empty_ = false;
};

}  // namespace tenon
