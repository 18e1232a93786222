#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace tenon {

// The elements of a string tensor, row-major, back to back: element i is
// bytes[offsets[i] .. offsets[i + 1]). Any bytes are allowed, NUL included.
struct StringTable {
  std::vector<char> bytes;
  std::vector<size_t> offsets{0};

  size_t size() const { return offsets.size() - 1; }
  std::string_view operator[](size_t i) const {
    return {bytes.data() + offsets[i], offsets[i + 1] - offsets[i]};
  }
  void Append(std::string_view element) {
    bytes.insert(bytes.end(), element.begin(), element.end());
    offsets.push_back(bytes.size());
  }
};

// A tensor in host memory, row-major without padding. Copies share the memory.
struct Tensor {
  DType dtype = DType::kUndefined;
  Shape shape;

  // Every dtype but string: byte_length bytes at data, which live as long as
  // owner does. data may be null only where byte_length is 0. A feed without an
  // owner is borrowed for the call alone: an engine that may keep it longer
  // has to copy it.
  void* data = nullptr;
  size_t byte_length = 0;
  std::shared_ptr<void> owner;

  // Outputs only: nobody but owner's holder can see or change the memory, so
  // it may be handed to JavaScript as it is. False for a constant or a
  // variable of the model and for memory of a feed: those must be copied.
  bool exclusive = false;

  // dtype string only.
  std::shared_ptr<const StringTable> strings;
};

// What a model takes or gives: a tensor; a sequence (items, of any length); a
// map (items[0] the keys, items[1] the values); or none, an absent optional.
struct Value {
  enum class Kind : uint8_t { kNone, kTensor, kSequence, kMap };

  Kind kind = Kind::kNone;
  Tensor tensor;
  std::vector<Value> items;

  static Value Of(Tensor tensor) {
    Value value;
    value.kind = Kind::kTensor;
    value.tensor = std::move(tensor);
    return value;
  }
};

}  // namespace tenon
