#include "runtime/batch.h"

#include <limits>
#include <string>
#include <utility>

namespace tenon {
namespace {

std::string Quoted(const std::string& name) { return "\"" + name + "\""; }

std::string OfMember(const std::string& name, size_t member) {
  return Quoted(name) + " of member " + std::to_string(member) + " of the batch";
}

Status Invalid(std::string expected) {
  return {StatusCode::kInvalidArgument, "expected " + std::move(expected)};
}

Status CheckSpecs(const Signature& signature, const BatchRequest& request) {
  if (request.inputs.empty()) return Invalid("at least one input to batch");
  if (request.member_count == 0) return Invalid("at least one member of a batch");
  std::vector<bool> fed(signature.inputs.size());
  const auto take = [&](size_t input) -> Status {
    if (input >= signature.inputs.size() || fed[input]) {
      return {StatusCode::kUnknownFeed,
              "expected each input of the signature at most once, received input " +
                  std::to_string(input)};
    }
    fed[input] = true;
    const ValueSpec& spec = signature.inputs[input];
    if (spec.kind == ValueSpec::Kind::kTensor) return {};
    return {StatusCode::kUnsupported,
            "expected a tensor for " + Quoted(spec.name) + ": other values have no rows to batch"};
  };
  for (const size_t input : request.inputs) TENON_RETURN_IF_ERROR(take(input));
  for (const BatchLayout::Mask& mask : request.layout.masks) {
    TENON_RETURN_IF_ERROR(take(mask.input));
  }
  for (const size_t output : request.outputs) {
    if (output < signature.outputs.size()) continue;
    return {StatusCode::kUnknownOutput, "expected an output below " +
                                            std::to_string(signature.outputs.size()) +
                                            ", received " + std::to_string(output)};
  }
  return {};
}

Status CheckLayout(const Signature& signature, const BatchRequest& request) {
  const BatchLayout& layout = request.layout;
  const size_t count = request.inputs.size();
  if (layout.shapes.size() != count || layout.pad_values.size() != count) {
    return Invalid("a shape and a pad value for each of " + std::to_string(count) + " inputs");
  }
  for (size_t i = 0; i < count; ++i) {
    const ValueSpec& spec = signature.inputs[request.inputs[i]];
    const Shape& shape = layout.shapes[i];
    if (shape.empty() || shape[0] < 0 || static_cast<size_t>(shape[0]) != layout.rows) {
      return Invalid("a shape of " + std::to_string(layout.rows) + " rows for " +
                     Quoted(spec.name) + ", received " + ShapeToString(shape));
    }
    const auto elements = ElementCount(shape);
    if (!elements || (spec.dtype != DType::kString && !DTypeByteLength(spec.dtype, *elements))) {
      return {StatusCode::kTooLarge,
              "expected a shape of non-negative sizes whose product fits for " + Quoted(spec.name) +
                  ", received " + ShapeToString(shape)};
    }
    TENON_RETURN_IF_ERROR(CheckRowBytes(spec.dtype, shape, spec.name));
  }
  for (const BatchLayout::Mask& mask : layout.masks) {
    const ValueSpec& spec = signature.inputs[mask.input];
    if (mask.dtype != spec.dtype) {
      return {StatusCode::kDType, "expected dtype " + std::string(DTypeName(spec.dtype)) +
                                      " for the mask " + Quoted(spec.name) + ", received " +
                                      std::string(DTypeName(mask.dtype))};
    }
    if (mask.of >= count || mask.dim == 0 || mask.dim >= layout.shapes[mask.of].size()) {
      return Invalid("a dimension from 1 on of a batched input for the mask " + Quoted(spec.name));
    }
  }
  for (const BatchLayout::Trim& trim : layout.trims) {
    if (trim.output >= request.outputs.size() || trim.dim == 0 || trim.of >= count ||
        trim.input_dim == 0 || trim.input_dim >= layout.shapes[trim.of].size()) {
      return Invalid("trims of outputs in dimensions from 1 on, to those of a batched input");
    }
  }
  return {};
}

Status CheckFeed(const Tensor& feed, const ValueSpec& spec, const Shape& batch, size_t member) {
  if (feed.dtype != spec.dtype) {
    return {StatusCode::kDType, "expected dtype " + std::string(DTypeName(spec.dtype)) + " for " +
                                    OfMember(spec.name, member) + ", received " +
                                    std::string(DTypeName(feed.dtype))};
  }
  const auto count = ElementCount(feed.shape);
  if (!count) {
    return {StatusCode::kTooLarge,
            "expected a shape of non-negative sizes whose product fits for " +
                OfMember(spec.name, member) + ", received " + ShapeToString(feed.shape)};
  }
  bool fits = feed.shape.size() == batch.size();
  bool same = fits;
  for (size_t i = 1; fits && i < batch.size(); ++i) {
    fits = feed.shape[i] <= batch[i];
    same = same && feed.shape[i] == batch[i];
  }
  if (!fits) {
    return {StatusCode::kShape, "expected a shape within " + ShapeToString(batch) + " for " +
                                    OfMember(spec.name, member) + ", received " +
                                    ShapeToString(feed.shape)};
  }
  if (!same && (feed.dtype == DType::kString || DTypeBits(feed.dtype) < 8)) {
    return {StatusCode::kUnsupported, "expected a shape of rows as in " + ShapeToString(batch) +
                                          " for " + OfMember(spec.name, member) + ", received " +
                                          ShapeToString(feed.shape) + ": tensors of " +
                                          std::string(DTypeName(feed.dtype)) + " are not padded"};
  }
  if (feed.dtype == DType::kString) {
    const size_t strings = feed.strings == nullptr ? 0 : feed.strings->size();
    if (strings == *count) return {};
    return {StatusCode::kDataLength, "expected " + std::to_string(*count) + " strings for " +
                                         OfMember(spec.name, member) + ", received " +
                                         std::to_string(strings)};
  }
  const auto bytes = DTypeByteLength(feed.dtype, *count);
  if (bytes && *bytes == feed.byte_length && (*bytes == 0 || feed.data != nullptr)) return {};
  return {StatusCode::kDataLength, "expected " + (bytes ? std::to_string(*bytes) : "fewer") +
                                       " bytes for " + OfMember(spec.name, member) + ", received " +
                                       std::to_string(feed.byte_length)};
}

}  // namespace

Status CheckRowBytes(DType dtype, const Shape& shape, const std::string& name) {
  const int bits = DTypeBits(dtype);
  if (bits == 0 || bits >= 8) return {};
  size_t row = 1;  // its size does not overflow, see ElementCount, or is not looked at
  for (size_t i = 1; i < shape.size(); ++i) row *= static_cast<size_t>(shape[i]);
  if (row % (8 / static_cast<size_t>(bits)) == 0) return {};
  return {StatusCode::kUnsupported, "expected rows of whole bytes for " + Quoted(name) +
                                        ", received shape " + ShapeToString(shape) + " of " +
                                        std::string(DTypeName(dtype))};
}

Status CheckBatch(const ModelInfo& info, const BatchRequest& request) {
  if (request.signature >= info.signatures.size()) {
    return {StatusCode::kUnknownSignature, "expected a signature below " +
                                               std::to_string(info.signatures.size()) +
                                               ", received " + std::to_string(request.signature)};
  }
  const Signature& signature = info.signatures[request.signature];
  TENON_RETURN_IF_ERROR(CheckSpecs(signature, request));
  TENON_RETURN_IF_ERROR(CheckLayout(signature, request));
  if (request.feeds.size() != request.member_count * request.inputs.size()) {
    return Invalid("a tensor for each member and input of the batch");
  }
  size_t rows = 0;
  for (size_t member = 0; member < request.member_count; ++member) {
    for (size_t i = 0; i < request.inputs.size(); ++i) {
      const Tensor& feed = request.feed(member, i);
      const ValueSpec& spec = signature.inputs[request.inputs[i]];
      TENON_RETURN_IF_ERROR(CheckFeed(feed, spec, request.layout.shapes[i], member));
      if (feed.shape[0] == request.feed(member, 0).shape[0]) continue;
      return {StatusCode::kShape, "expected " + std::to_string(request.rows_of(member)) +
                                      " rows, as the first input of the batch has, for " +
                                      OfMember(spec.name, member) + ", received shape " +
                                      ShapeToString(feed.shape)};
    }
    if (request.rows_of(member) > request.layout.rows - rows) {
      return {StatusCode::kShape, "expected at most " + std::to_string(request.layout.rows) +
                                      " rows in the batch, received more with member " +
                                      std::to_string(member)};
    }
    rows += request.rows_of(member);
  }
  if (rows == 0 && request.layout.rows > 0) {
    return {StatusCode::kShape, "expected a row to fill the batch with, received none"};
  }
  return {};
}

}  // namespace tenon
