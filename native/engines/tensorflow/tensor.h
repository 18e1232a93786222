#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/handle.h"
#include "engines/tensorflow/library.h"

namespace tenon::tensorflow {

// The dtypes of both sides; nullopt where the other side has no such type
// (resources and variants of TensorFlow, float8e8m0 of Tenon). Reference types
// count as the types they refer to.
std::optional<DType> DTypeFromTensorFlow(int dtype);
std::optional<TF_DataType> DTypeToTensorFlow(DType dtype);

// "resource" and "variant" by name, others by number: for messages about types
// Tenon has no name for.
std::string TensorFlowDTypeName(int dtype);

// A feed in TensorFlow's hands.
struct Feed {
  TensorHandle tensor{nullptr, nullptr};
  // Whether `tensor` is over the caller's memory, or else over a copy.
  bool passed = false;
  // Passed only: expires when TensorFlow has let go of the memory. If it has not
  // once `tensor` and all outputs are gone, something in the model has kept it.
  std::weak_ptr<void> hold;
};

// How the memory of a feed gets to TensorFlow.
enum class FeedMemory { kPassed, kCopied };

// Up to here a feed is copied into memory of TensorFlow's own: an input that keeps
// it only now and then can then never come to share the caller's. To pass 4 KB took
// 0.09 µs, to copy them into a new tensor 0.20, into one made before 0.05 (a 2-core
// x64 machine, TensorFlow 2.21; at 64 KB 0.09, 1.3 and 1.2).
inline constexpr size_t kMaxCopiedBytes = 4096;

// `tensor`, which CheckRequest has passed, as TensorFlow takes it.
//
// Memory that is passed is used as it is, and its owner held until TensorFlow
// lets go of it, which may be long after the run and on any thread. What CanPass
// refuses is copied whatever `memory` says.
Result<Feed> ToTensorFlow(const Api& api, const Tensor& tensor, FeedMemory memory,
                          const std::string& name);

// Whether the memory of `tensor` can be TensorFlow's and is worth it: owned, aligned,
// large, and not of strings or of types of less than a byte, which TensorFlow
// stores one to a byte.
bool CanPass(const Tensor& tensor);

// Whether a feed has bytes that another run may find changed: strings have not.
inline bool CanChange(const Tensor& tensor) {
  return tensor.dtype != DType::kString && tensor.byte_length > 0;
}

// The bytes of `tensor` again, into `fed`, a copy of a tensor of that dtype and
// shape. Not for strings.
void Refill(const Api& api, const Tensor& tensor, TF_Tensor* fed);

// Takes back the memory of a feed that was passed. Whether TensorFlow has kept
// some of it or, of a feed that was copied, of the copy: to be asked when all
// outputs of the run are gone. Not for strings and tensors without bytes.
bool IsKept(const Api& api, Feed* feed);

// Whether memory is part of both. (Strings never are.)
bool Overlaps(const Tensor& one, const Tensor& other);

// The output `name`, which must be of `dtype`, as Tenon gives it.
//
// The engine's own memory is handed on only where nobody else holds it; a
// constant, a variable or a feed that came out as an output is copied. The
// result is always exclusive.
Result<Tensor> FromTensorFlow(const Api& api, TensorHandle tensor, DType dtype,
                              const std::string& name);

// Whether the output `name` has the dtype and the shape of `into`.
Status CheckInto(const Api& api, const TF_Tensor* tensor, const Tensor& into,
                 const std::string& name);

// Copies an output that CheckInto has passed into `into`.
void CopyInto(const Api& api, const TF_Tensor* tensor, const Tensor& into);

// An output that stays a TF_Tensor, to be fed again as it is.
class TensorFlowEngineTensor : public EngineTensor {
 public:
  // Keeps the output `name`, which must be of `dtype`.
  //
  // A tensor nobody else holds is kept without a copy, and so is one that is `fed`
  // come out again, as any tensor kept earlier. Whatever else is shared is copied:
  // a variable of TensorFlow 1 is written in place whoever reads it, and the C API
  // does not tell it from a constant. (TensorFlow 2's variables are not: they are
  // moved to new memory when somebody still holds the old.)
  static Result<std::shared_ptr<const EngineTensor>> Keep(
      std::shared_ptr<const Library> library, TensorHandle tensor, DType dtype,
      const std::string& name, const std::vector<const TensorFlowEngineTensor*>& fed);

  // The tensor in `value`; null where it is another engine's, or none at all.
  static const TensorFlowEngineTensor* Of(const Value& value) {
    return dynamic_cast<const TensorFlowEngineTensor*>(value.engine_tensor.get());
  }

  // For Keep. `tensor` must not be written to by anybody.
  TensorFlowEngineTensor(std::shared_ptr<const Library> library, TensorHandle tensor, DType dtype,
                         Shape shape, size_t byte_length);

  DType dtype() const override { return dtype_; }
  const Shape& shape() const override { return shape_; }
  // Of strings, their bytes alone.
  size_t byte_length() const override { return byte_length_; }
  const std::string& device() const override;
  Result<Tensor> ToHost() const override;

  // What to feed. TF_SessionRun takes a pointer it does not write through.
  TF_Tensor* tensor() const { return tensor_.get(); }

 private:
  const std::shared_ptr<const Library> library_;
  const TensorHandle tensor_;
  const DType dtype_;
  const Shape shape_;
  const size_t byte_length_;
};

}  // namespace tenon::tensorflow
