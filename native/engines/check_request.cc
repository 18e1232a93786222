#include <cstdint>
#include <string>
#include <vector>

#include "engines/session.h"

namespace tenon {
namespace {

Status CheckTensor(const Tensor& tensor, const std::string& name) {
  const auto count = ElementCount(tensor.shape);
  if (!count) {
    return {StatusCode::kTooLarge,
            "expected a shape of non-negative sizes whose product fits for \"" + name +
                "\", received " + ShapeToString(tensor.shape)};
  }
  if (tensor.dtype == DType::kString) {
    if (tensor.strings == nullptr || tensor.strings->size() != *count) {
      return {StatusCode::kDataLength,
              "expected " + std::to_string(*count) + " strings for \"" + name + "\", received " +
                  std::to_string(tensor.strings == nullptr ? 0 : tensor.strings->size())};
    }
    return {};
  }
  const auto bytes = DTypeByteLength(tensor.dtype, *count);
  if (!bytes) {
    return {StatusCode::kTooLarge, "expected a byte length that fits for \"" + name +
                                       "\", received shape " + ShapeToString(tensor.shape)};
  }
  if (*bytes != tensor.byte_length || (*bytes > 0 && tensor.data == nullptr)) {
    return {StatusCode::kDataLength, "expected " + std::to_string(*bytes) + " bytes for \"" + name +
                                         "\", received " + std::to_string(tensor.byte_length)};
  }
  return {};
}

Status CheckValue(const Value& value, const ValueSpec& spec, const std::string& name);

Status CheckDType(DType dtype, const ValueSpec& spec, const std::string& name) {
  if (dtype == spec.dtype) return {};
  return {StatusCode::kDType, "expected dtype " + std::string(DTypeName(spec.dtype)) + " for \"" +
                                  name + "\", received " + std::string(DTypeName(dtype))};
}

Status CheckKind(const Value& value, Value::Kind kind, const char* expected,
                 const std::string& name) {
  if (value.kind == kind) return {};
  static constexpr const char* kNames[] = {"none", "a tensor", "a sequence", "a map",
                                           "a tensor of the engine"};
  return {StatusCode::kDType, std::string("expected ") + expected + " for \"" + name +
                                  "\", received " + kNames[static_cast<size_t>(value.kind)]};
}

Status CheckValue(const Value& value, const ValueSpec& spec, const std::string& name) {
  switch (spec.kind) {
    case ValueSpec::Kind::kTensor:
      if (value.kind == Value::Kind::kEngineTensor && value.engine_tensor != nullptr) {
        return CheckDType(value.engine_tensor->dtype(), spec, name);
      }
      TENON_RETURN_IF_ERROR(CheckKind(value, Value::Kind::kTensor, "a tensor", name));
      TENON_RETURN_IF_ERROR(CheckDType(value.tensor.dtype, spec, name));
      return CheckTensor(value.tensor, name);
    case ValueSpec::Kind::kSequence:
      TENON_RETURN_IF_ERROR(CheckKind(value, Value::Kind::kSequence, "a sequence", name));
      for (const Value& item : value.items) {
        TENON_RETURN_IF_ERROR(CheckValue(item, *spec.element, name));
      }
      return {};
    case ValueSpec::Kind::kMap: {
      TENON_RETURN_IF_ERROR(CheckKind(value, Value::Kind::kMap, "a map", name));
      if (value.items.size() != 2) {
        return {StatusCode::kInternal, "expected keys and values for \"" + name + "\""};
      }
      TENON_RETURN_IF_ERROR(
          CheckKind(value.items[0], Value::Kind::kTensor, "keys as a tensor", name));
      if (value.items[0].tensor.dtype != spec.dtype) {
        return {StatusCode::kDType, "expected keys of dtype " + std::string(DTypeName(spec.dtype)) +
                                        " for \"" + name + "\", received " +
                                        std::string(DTypeName(value.items[0].tensor.dtype))};
      }
      TENON_RETURN_IF_ERROR(CheckTensor(value.items[0].tensor, name));
      // Only of a tensor in host memory is the number of elements known to be right.
      TENON_RETURN_IF_ERROR(
          CheckKind(value.items[1], Value::Kind::kTensor, "values as a tensor", name));
      TENON_RETURN_IF_ERROR(CheckValue(value.items[1], *spec.element, name));
      const auto keys = ElementCount(value.items[0].tensor.shape);
      const auto values = ElementCount(value.items[1].tensor.shape);
      if (keys != values) {
        return {StatusCode::kDataLength, "expected as many values as keys for \"" + name + "\""};
      }
      return {};
    }
    case ValueSpec::Kind::kOptional:
      if (value.kind == Value::Kind::kNone) return {};
      return CheckValue(value, *spec.element, name);
    case ValueSpec::Kind::kSparse:
    case ValueSpec::Kind::kOpaque: break;
  }
  return {StatusCode::kUnsupported, "expected a tensor, sequence, map or optional for \"" + name +
                                        "\": sparse and opaque inputs cannot be fed"};
}

Status CheckTargets(const Signature& signature, const RunRequest& request) {
  if (request.targets.empty()) return {};
  if (request.targets.size() != request.outputs.size()) {
    return {StatusCode::kInternal, "expected one target for each output"};
  }
  for (size_t i = 0; i < request.targets.size(); ++i) {
    const OutputTarget& target = request.targets[i];
    if (target.kind == OutputTarget::Kind::kHost) continue;
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    if (spec.kind != ValueSpec::Kind::kTensor) {
      return {StatusCode::kUnsupported, "expected a tensor as output \"" + spec.name +
                                            "\" to be kept in the engine or preallocated"};
    }
    if (target.kind == OutputTarget::Kind::kEngine) continue;
    if (spec.dtype == DType::kString) {
      return {StatusCode::kUnsupported,
              "expected an output of fixed size to be preallocated, "
              "received \"" +
                  spec.name + "\" of strings"};
    }
    TENON_RETURN_IF_ERROR(CheckDType(target.into.dtype, spec, spec.name));
    TENON_RETURN_IF_ERROR(CheckTensor(target.into, spec.name));
  }
  return {};
}

// Indices below `size`. In place for as few inputs as nearly every model has: an
// allocation would be as much as all else that is checked of a small request.
class IndexSet {
 public:
  explicit IndexSet(size_t size) {
    if (size > 64) many_.resize(size);
  }
  bool Has(size_t index) const {
    return many_.empty() ? (few_ >> index & 1) != 0 : static_cast<bool>(many_[index]);
  }
  void Add(size_t index) {
    if (many_.empty()) {
      few_ |= uint64_t{1} << index;
    } else {
      many_[index] = true;
    }
  }

 private:
  uint64_t few_ = 0;
  std::vector<bool> many_;
};

}  // namespace

Status CheckRequest(const ModelInfo& info, const RunRequest& request) {
  if (request.signature >= info.signatures.size()) {
    return {StatusCode::kUnknownSignature, "expected a signature below " +
                                               std::to_string(info.signatures.size()) +
                                               ", received " + std::to_string(request.signature)};
  }
  const Signature& signature = info.signatures[request.signature];
  if (request.inputs.size() != request.feeds.size()) {
    return {StatusCode::kInternal, "expected one feed for each named input"};
  }
  IndexSet fed(signature.inputs.size());
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const size_t input = request.inputs[i];
    if (input >= signature.inputs.size() || fed.Has(input)) {
      return {StatusCode::kUnknownFeed,
              "expected each input of the signature at most once, received input " +
                  std::to_string(input)};
    }
    fed.Add(input);
    const ValueSpec& spec = signature.inputs[input];
    TENON_RETURN_IF_ERROR(CheckValue(request.feeds[i], spec, spec.name));
  }
  for (size_t input = 0; input < signature.inputs.size(); ++input) {
    if (!fed.Has(input) && !signature.inputs[input].optional) {
      return {StatusCode::kMissingFeed,
              "expected a feed for input \"" + signature.inputs[input].name + "\""};
    }
  }
  for (size_t output : request.outputs) {
    if (output >= signature.outputs.size()) {
      return {StatusCode::kUnknownOutput, "expected an output below " +
                                              std::to_string(signature.outputs.size()) +
                                              ", received " + std::to_string(output)};
    }
  }
  return CheckTargets(signature, request);
}

}  // namespace tenon
