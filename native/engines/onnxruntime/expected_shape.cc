#include "engines/onnxruntime/expected_shape.h"

#include "core/dtype.h"

namespace tenon::onnxruntime {
namespace {

constexpr size_t kNoInput = static_cast<size_t>(-1);

// The sizes of what is fed as `input`; null where that is not a tensor.
const Shape* FedShape(const RunRequest& request, size_t input) {
  size_t i = input;
  // Nearly always the feeds are in the order of the inputs.
  if (i >= request.inputs.size() || request.inputs[i] != input) {
    for (i = 0; i < request.inputs.size() && request.inputs[i] != input;) ++i;
    if (i == request.inputs.size()) return nullptr;
  }
  const Value& feed = request.feeds[i];
  if (feed.kind == Value::Kind::kTensor) return &feed.tensor.shape;
  return feed.kind == Value::Kind::kEngineTensor ? &feed.engine_tensor->shape() : nullptr;
}

}  // namespace

void ExpectedShape::Declare(const Signature& signature, const ValueSpec& output) {
  if (output.kind != ValueSpec::Kind::kTensor || output.unknown_rank ||
      DTypeBits(output.dtype) < 8) {
    return;
  }
  std::vector<Size> sizes;
  for (const Dimension& dimension : output.shape) {
    Size size;
    size.declared = dimension.size;
    if (dimension.size < 0) {
      if (dimension.name.empty()) return;
      size.input = kNoInput;
      for (size_t input = 0; input < signature.inputs.size(); ++input) {
        const ValueSpec& spec = signature.inputs[input];
        if (size.input != kNoInput || spec.kind != ValueSpec::Kind::kTensor || spec.optional) {
          continue;
        }
        for (size_t axis = 0; axis < spec.shape.size(); ++axis) {
          if (spec.shape[axis].size >= 0 || spec.shape[axis].name != dimension.name) continue;
          size.input = input;
          size.axis = axis;
          break;
        }
      }
      if (size.input == kNoInput) return;
    }
    sizes.push_back(size);
  }
  sizes_ = std::move(sizes);
  belief_.store(kInDoubt, std::memory_order_relaxed);
}

bool ExpectedShape::Find(const RunRequest& request, Shape* shape) const {
  shape->resize(sizes_.size());
  for (size_t i = 0; i < sizes_.size(); ++i) {
    const Size& size = sizes_[i];
    if (size.declared >= 0) {
      (*shape)[i] = size.declared;
      continue;
    }
    const Shape* const fed = FedShape(request, size.input);
    if (fed == nullptr || size.axis >= fed->size()) return false;
    (*shape)[i] = (*fed)[size.axis];
  }
  return true;
}

void ExpectedShape::Compare(const RunRequest& request, const Shape& shape) {
  Shape expected;
  if (!Find(request, &expected)) return;
  belief_.store(expected == shape ? kBelieved : kNothing, std::memory_order_relaxed);
}

}  // namespace tenon::onnxruntime
