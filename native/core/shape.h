#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tenon {

using Shape = std::vector<int64_t>;

// Elements of a concrete shape (1 for rank 0); nullopt where a dimension is
// negative or the product does not fit.
std::optional<size_t> ElementCount(const Shape& shape);

// "[1,224,224,3]"
std::string ShapeToString(const Shape& shape);

}  // namespace tenon
