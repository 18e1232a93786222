#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/status.h"

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

// A tensor that stays where its engine made it: in host memory the engine owns,
// or on a device. It does not change, may be fed to any session of that engine
// and any number of runs at once, and outlives its session.
class EngineTensor {
 public:
  virtual ~EngineTensor() = default;
  EngineTensor(const EngineTensor&) = delete;
  EngineTensor& operator=(const EngineTensor&) = delete;

  virtual DType dtype() const = 0;
  virtual const Shape& shape() const = 0;
  virtual size_t byte_length() const = 0;
  // Where it is: "cpu", or the engine's name for the device.
  virtual const std::string& device() const = 0;
  // A copy in host memory, exclusively the caller's. May wait for the device.
  virtual Result<Tensor> ToHost() const = 0;

 protected:
  EngineTensor() = default;
};

// What a model takes or gives: a tensor; a tensor that stays in the engine; a
// sequence (items, of any length); a map (items[0] the keys, items[1] the
// values); or none, an absent optional.
struct Value {
  enum class Kind : uint8_t { kNone, kTensor, kSequence, kMap, kEngineTensor };

  Kind kind = Kind::kNone;
  Tensor tensor;
  std::vector<Value> items;
  std::shared_ptr<const EngineTensor> engine_tensor;

  static Value Of(Tensor tensor) {
    Value value;
    value.kind = Kind::kTensor;
    value.tensor = std::move(tensor);
    return value;
  }
};

}  // namespace tenon
