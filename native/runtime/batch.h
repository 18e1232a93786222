#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/model_info.h"
#include "core/shape.h"
#include "core/status.h"
#include "core/value.h"

namespace tenon {

// How the tensors of a batch come about from those of its members: dimension 0
// counts rows, and a member's rows follow those of the member before.
struct BatchLayout {
  // An input that marks what is a member's own with 1 and padding with 0, of shape
  // [rows, size of dimension `dim` of the batch's `of`th input].
  struct Mask {
    size_t input = 0;  // index into the signature's inputs
    DType dtype = DType::kUndefined;
    size_t of = 0;
    size_t dim = 0;
  };
  // Dimension `dim` of the `output`th output is cut to what a member's tensor for the
  // `of`th input has in dimension `input_dim`.
  struct Trim {
    size_t output = 0;
    size_t dim = 0;
    size_t of = 0;
    size_t input_dim = 0;
  };

  // At least the members' sum; further ones repeat the last row.
  size_t rows = 0;
  // The batch's shape of each input. A member may be smaller in dimensions from 1
  // on, and is then padded at their ends.
  std::vector<Shape> shapes;
  // One for each input; none: a member's own first element.
  std::vector<std::optional<double>> pad_values;
  std::vector<Mask> masks;
  std::vector<Trim> trims;
};

// Several requests to be made as one call of the engine.
struct BatchRequest {
  size_t signature = 0;
  std::vector<size_t> inputs;  // indices into the signature's inputs
  size_t member_count = 0;
  // One for each member and each of `inputs`, member by member. A feed without an
  // owner is the caller's own memory.
  std::vector<Tensor> feeds;
  std::vector<size_t> outputs;  // indices into the signature's outputs
  BatchLayout layout;

  const Tensor& feed(size_t member, size_t input) const {
    return feeds[member * inputs.size() + input];
  }
  // Of a request that was checked.
  size_t rows_of(size_t member) const {
    return inputs.empty() ? 0 : static_cast<size_t>(feed(member, 0).shape[0]);
  }
};

// Whether the batch can be put together: indices in range, tensors of dtypes and
// shapes that fit the layout and byte lengths that fit the shapes, sizes that do
// not overflow. What is wrong with one member names it by its position.
Status CheckBatch(const ModelInfo& info, const BatchRequest& request);

// The smallest unit that a tensor's rows can be cut at is a byte: fails with
// kUnsupported where a row of a packed dtype ends within one. `shape` is checked.
Status CheckRowBytes(DType dtype, const Shape& shape, const std::string& name);

}  // namespace tenon
