#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/status.h"
#include "core/value.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {

// A tensor held as the engine's own value, which owns the memory it lies in.
class OnnxEngineTensor : public EngineTensor {
 public:
  // `kept` lives as long as the tensor: its memory, where `value` does not own
  // that, or for a device's memory the session, as a device's allocator may ask
  // for more than the value keeps alive by itself.
  static Result<std::shared_ptr<const EngineTensor>> Create(std::shared_ptr<const Library> library,
                                                            ValueHandle value,
                                                            TensorDescription description,
                                                            std::shared_ptr<const void> kept);

  ~OnnxEngineTensor() override;

  // `tensor` as one of this engine; null where it is another's.
  static const OnnxEngineTensor* From(const EngineTensor* tensor) {
    return dynamic_cast<const OnnxEngineTensor*>(tensor);
  }

  DType dtype() const override { return description_.dtype; }
  const Shape& shape() const override { return description_.shape; }
  size_t byte_length() const override { return description_.byte_length; }
  const std::string& device() const override { return device_; }
  Result<Tensor> ToHost() const override;

  const OrtValue* value() const { return value_.get(); }
  bool in_host_memory() const { return description_.in_host_memory; }
  // Null for strings, and where it is not in host memory.
  const void* host_data() const { return description_.data; }

 private:
  OnnxEngineTensor(std::shared_ptr<const Library> library, ValueHandle value,
                   TensorDescription description, std::string device,
                   std::shared_ptr<const void> kept);

  // Destroyed from the last to the first: the value goes before what it needs,
  // and that before the library.
  const std::shared_ptr<const Library> library_;
  std::shared_ptr<const void> kept_;
  const std::string device_;
  const TensorDescription description_;
  ValueHandle value_;
};

}  // namespace tenon::onnxruntime
