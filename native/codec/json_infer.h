#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/request_error.h"
#include "codec/text_buffer.h"
#include "core/value.h"

// Bodies of the Open Inference Protocol. What is long in them, the elements of tensors, goes
// straight into tensors and out of them; all the rest is short, and stays text for who knows
// the protocol.

namespace tenon::codec {

struct InferBody {
  bool ok = false;
  RequestError error;
  // The body, with each "data" of an input replaced by the index of its tensor; by a
  // string, which shows the first value that is no element, where it holds one; by null,
  // where no "datatype" says how to read it. Whatever else is wrong with it is left.
  std::string text;
  // Each with one dimension, in aligned memory of its own.
  std::vector<Tensor> tensors;
};

// Reads the body of an inference request, its elements in one pass. Lists may be nested as
// they like: elements are taken in the order in which they stand. Integers have to fit their
// type; FP16 and BF16 are no elements of JSON.
//
// What is no JSON is refused as a predict request's is, and so are more than kMaxStrings
// strings, and a text of more than kMaxInferText.
//
// Throws std::bad_alloc where there is no memory: what it takes is at most proportional to
// the body's length.
InferBody DecodeInfer(std::string_view body);

// What is not elements of tensors is parsed where requests are handled, one after another.
inline constexpr size_t kMaxInferText = size_t{4} << 20;

// Writes `pieces` with the elements of a tensor between each two, as a list on one line. There
// is one tensor less than pieces, and none has a dtype that JSON cannot carry.
//
// Throws std::bad_alloc and std::length_error.
void WeaveTensors(const std::vector<std::string>& pieces, const std::vector<Tensor>& tensors,
                  TextBuffer* text);

}  // namespace tenon::codec
