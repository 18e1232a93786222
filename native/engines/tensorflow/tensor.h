#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/dtype.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/handle.h"

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
  TensorHandle tensor;
  // Expires when TensorFlow has let go of the memory. If it has not once
  // `tensor` and all outputs are gone, something in the model has kept it.
  std::weak_ptr<void> hold;
};

// How the memory of a feed that has an owner gets to TensorFlow.
enum class FeedMemory { kPassed, kCopied };

// `tensor`, which CheckRequest has passed, as TensorFlow takes it.
//
// Memory that is passed is used as it is, and its owner held until TensorFlow
// lets go of it, which may be long after the run and on any thread. (TensorFlow
// itself copies memory that is not aligned.) Memory without an owner is copied
// whatever `memory` says, and so are strings and types of less than a byte, which
// TensorFlow stores one to a byte.
Result<Feed> ToTensorFlow(const Api& api, const Tensor& tensor, FeedMemory memory,
                          const std::string& name);

// The output `name`, which must be of `dtype`, as Tenon gives it.
//
// The engine's own memory is handed on only where nobody else holds it; a
// constant, a variable or a feed that came out as an output is copied. The
// result is always exclusive.
Result<Tensor> FromTensorFlow(const Api& api, TensorHandle tensor, DType dtype,
                              const std::string& name);

}  // namespace tenon::tensorflow
