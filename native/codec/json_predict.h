#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/request_error.h"
#include "core/value.h"

namespace tenon::codec {

// An input of a signature.
struct InputSpec {
  std::string name;
  DType dtype = DType::kUndefined;
};

// Strings and examples that one body may have. Each becomes an object in JavaScript, of a
// hundred bytes and more, however short it is; the bytes that say "" are three.
inline constexpr size_t kMaxStrings = size_t{1} << 20;

// Whether a body lists instances ("instances") or whole tensors ("inputs").
enum class BodyForm : uint8_t { kRow, kColumnar };

// What a body that names no signature, or the empty one, means.
inline constexpr std::string_view kDefaultSignature = "serving_default";

// What became of a predict request's body.
struct PredictBody {
  enum class Outcome : uint8_t {
    kDecoded,
    // The body asks for `signature`, of which the inputs were not given.
    kOtherSignature,
    kRefused,
  };
  Outcome outcome = Outcome::kRefused;
  std::string signature;
  BodyForm form = BodyForm::kRow;
  // Tensors by the index of their input, in aligned memory of their own.
  std::vector<std::pair<size_t, Tensor>> feeds;
  RequestError error;
};

// Decodes the body of a predict request into tensors for the inputs of `signature`,
// which is a guess: the body may ask for another, and is not always checked to its end
// then. Without `inputs` it is, and says which signature it asks for.
//
// One pass over the bytes writes the elements straight into the tensors. Only where
// something is wrong the text is read again from the start, for an error as
// TensorFlow Serving would give it: a fault in the text wins over all others. More than
// kMaxStrings are refused.
//
// Throws std::bad_alloc where there is no memory: what it takes is at most
// proportional to the body's length.
PredictBody DecodePredict(std::string_view body, std::string_view signature,
                          const std::vector<InputSpec>* inputs);

}  // namespace tenon::codec
