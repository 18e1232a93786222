#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"

namespace tenon {

// One dimension of a declared shape: a size, a symbolic name, or neither.
struct Dimension {
  int64_t size = -1;  // -1: unknown
  std::string name;   // "" or the symbol; meaningful only where size is -1
};

// What a model declares of one input or output.
struct ValueSpec {
  enum class Kind : uint8_t { kTensor, kSequence, kMap, kOptional, kSparse, kOpaque };

  std::string name;
  Kind kind = Kind::kTensor;
  // kTensor and kSparse: the element type. kMap: the type of the keys.
  DType dtype = DType::kUndefined;
  bool unknown_rank = false;
  std::vector<Dimension> shape;
  // kSequence and kOptional: of what. kMap: of what the values are.
  std::shared_ptr<ValueSpec> element;
  // An input that need not be fed (an ONNX initializer that may be overridden).
  bool optional = false;
};

struct Signature {
  std::string name;
  std::vector<ValueSpec> inputs;
  std::vector<ValueSpec> outputs;
};

struct ModelInfo {
  // At least one. A run names signatures, inputs and outputs by their index here.
  std::vector<Signature> signatures;
  // What the model says of itself, in the engine's order: "producer", "version" …
  std::vector<std::pair<std::string, std::string>> metadata;
  // The model's own key/value map.
  std::vector<std::pair<std::string, std::string>> custom_metadata;
  // ONNX Runtime: the execution providers of the session in order of preference,
  // by their full names …
  std::vector<std::string> providers;
  // … and those that were asked for and could not start: the name, and why.
  std::vector<std::pair<std::string, std::string>> provider_fallbacks;
};

}  // namespace tenon
