#pragma once

#include <napi.h>

#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "codec/json_predict.h"
#include "codec/request_error.h"
#include "codec/text_buffer.h"
#include "core/status.h"

namespace tenon::addon {

// Adds the JSON tensor codec's functions, NativeJson of lib/native/types.ts.
void DefineJsonCodec(Napi::Env env, Napi::Object exports);

// The inputs of a signature, read once for many bodies.
struct JsonInputs {
  std::string signature;
  std::vector<codec::InputSpec> specs;
};

// Null for null.
std::shared_ptr<const JsonInputs> ReadJsonInputs(Napi::Value value);
// The bytes of a Uint8Array, which stay its own.
std::string_view ReadJsonBody(Napi::Value value);

// Calls `work`, which reads or writes JSON, and catches what a lack of memory throws.
template <typename Work>
Status AttemptJson(Work&& work) {
  try {
    work();
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "expected memory for a JSON body and its tensors"};
  } catch (const std::length_error&) {
    return {StatusCode::kTooLarge,
            "expected an answer of less than 2 GiB as JSON, received a longer one"};
  }
}

struct JsonText {
  std::optional<codec::RequestError> error;
  std::unique_ptr<codec::TextBuffer> text = std::make_unique<codec::TextBuffer>();
};

// As NativeJson.encodePredict gives it.
Napi::Value WriteJsonText(Napi::Env env, JsonText& encoded);

}  // namespace tenon::addon
