#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codec/json_predict.h"
#include "codec/request_error.h"
#include "codec/text_buffer.h"
#include "core/value.h"

namespace tenon::codec {

// An output of a run, under its name in the signature.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Whether elements of it can be written as JSON.
bool CanBeWritten(DType dtype);

// Writes the answer to a predict request of that form, byte for byte as TensorFlow
// Serving lays it out: one output alone, several as an object, of each instance or as a
// whole. Outputs of strings whose name ends in "_bytes" are {"b64": …}.
//
// Beyond TensorFlow Serving, which refuses them, float16, bfloat16 and uint16 are
// written as numbers. The other dtypes are refused as there.
//
// Throws std::bad_alloc and std::length_error.
std::optional<RequestError> EncodePredict(BodyForm form, const std::vector<NamedTensor>& outputs,
                                          TextBuffer* text);

}  // namespace tenon::codec
