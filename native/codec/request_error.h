#pragma once

#include <string>
#include <string_view>

#include "core/dtype.h"

namespace tenon::codec {

// Why a request is refused or an answer cannot be written, in the words of TensorFlow
// Serving, which its clients know. The numbers are those of gRPC.
struct RequestError {
  enum class Code { kInvalidArgument = 3, kResourceExhausted = 8, kUnimplemented = 12 };
  Code code = Code::kInvalidArgument;
  std::string message;
};

// "INVALID_ARGUMENT".
std::string_view CodeName(RequestError::Code code);

// "float" for kFloat32, as TensorFlow writes its types.
std::string_view TensorFlowTypeName(DType dtype);

}  // namespace tenon::codec
