#include "codec/request_error.h"

namespace tenon::codec {

std::string_view CodeName(RequestError::Code code) {
  switch (code) {
    case RequestError::Code::kInvalidArgument: return "INVALID_ARGUMENT";
    case RequestError::Code::kResourceExhausted: return "RESOURCE_EXHAUSTED";
    case RequestError::Code::kUnimplemented: return "UNIMPLEMENTED";
  }
  return "UNKNOWN";
}

std::string_view TensorFlowTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float";
    case DType::kFloat64: return "double";
    case DType::kFloat16: return "half";
    case DType::kFloat8E4M3FN: return "float8_e4m3fn";
    case DType::kFloat8E4M3FNUZ: return "float8_e4m3fnuz";
    case DType::kFloat8E4M3B11FNUZ: return "float8_e4m3b11fnuz";
    case DType::kFloat8E5M2: return "float8_e5m2";
    case DType::kFloat8E5M2FNUZ: return "float8_e5m2fnuz";
    case DType::kFloat4E2M1: return "float4_e2m1fn";
    default: return DTypeName(dtype);
  }
}

}  // namespace tenon::codec
