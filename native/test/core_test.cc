#include <limits>

#include "core/dtype.h"
#include "core/shape.h"
#include "test/test.h"

namespace tenon {

TEST("dtype: a packed type rounds up to whole bytes") {
  CHECK_EQ(*DTypeByteLength(DType::kInt4, 3), 2u);
  CHECK_EQ(*DTypeByteLength(DType::kUInt2, 5), 2u);
  CHECK_EQ(*DTypeByteLength(DType::kInt4, 0), 0u);
}

TEST("dtype: a byte length that overflows is refused") {
  CHECK(!DTypeByteLength(DType::kFloat64, std::numeric_limits<size_t>::max() / 4));
  CHECK(!DTypeByteLength(DType::kString, 1));
}

TEST("dtype: numbers outside the table are refused") {
  CHECK(!DTypeFromNumber(0));
  CHECK(!DTypeFromNumber(kDTypeCount));
  CHECK(DTypeFromNumber(1) == DType::kFloat32);
}

TEST("shape: rank 0 has one element, a zero dimension none") {
  CHECK_EQ(*ElementCount({}), 1u);
  CHECK_EQ(*ElementCount({3, 0, 5}), 0u);
  CHECK_EQ(*ElementCount({2, 3}), 6u);
}

TEST("shape: a negative or overflowing shape has no element count") {
  CHECK(!ElementCount({-1, 2}));
  CHECK(!ElementCount({int64_t{1} << 40, int64_t{1} << 40}));
  CHECK_EQ(*ElementCount({int64_t{1} << 40, int64_t{1} << 20, 0}), 0u);
}

TEST("shape: text is as JavaScript would write it") { CHECK_EQ(ShapeToString({1, 2}), "[1,2]"); }

}  // namespace tenon
