#pragma once

#include <string>
#include <string_view>

#include "codec/request_error.h"
#include "core/value.h"

namespace tenon::codec {

// What became of a classify or regress request's body.
struct ExamplesBody {
  bool ok = false;
  std::string signature;
  // Serialized tensorflow.Example messages. The context comes before each of them, as
  // bytes: fields that both have are the example's own then, for whoever reads the
  // message takes the last.
  StringTable examples;
  RequestError error;
};

// Decodes {"signature_name": …, "context": {…}, "examples": [{…}, …]}. The context is
// repeated for every example, so that the result may be larger than the body: above
// kMaxExampleBytes and eight times the body it is refused, and so are more than
// kMaxStrings (json_predict.h) examples.
//
// Throws std::bad_alloc.
ExamplesBody DecodeExamples(std::string_view body);

inline constexpr size_t kMaxExampleBytes = size_t{64} << 20;

}  // namespace tenon::codec
