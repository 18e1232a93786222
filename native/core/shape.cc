#include "core/shape.h"

#include <limits>

namespace tenon {

std::optional<size_t> ElementCount(const Shape& shape) {
  // The limit is that of a signed size, which is what both engines count in.
  constexpr size_t kMax = static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max());
  size_t count = 1;
  bool empty = false;
  for (int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    const size_t size = static_cast<size_t>(dimension);
    if (size == 0) {
      empty = true;
      continue;
    }
    if (count > kMax / size) return std::nullopt;
    count *= size;
  }
  return empty ? 0 : count;
}

std::string ShapeToString(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ",";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace tenon
