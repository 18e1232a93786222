#include "engines/onnxruntime/status.h"

#include <string>
#include <string_view>
#include <utility>

#include "engines/onnxruntime/handles.h"

namespace tenon::onnxruntime {
namespace {

// The engine has no number for a failed allocation: its exceptions arrive as
// text, and its arena has words of its own.
bool SaysOutOfMemory(std::string_view text) {
  return text.find("bad_alloc") != std::string_view::npos ||
         text.find("bad allocation") != std::string_view::npos ||
         text.find("Failed to allocate memory") != std::string_view::npos;
}

template <typename ToCode>
Status Take(const Api& api, OrtStatus* status, const ToCode& to_code) {
  if (status == nullptr) return {};
  const StatusHandle owner(status, {&api});
  const OrtErrorCode number = api.GetErrorCode(status);
  const char* words = api.GetErrorMessage(status);
  std::string text = words == nullptr ? "" : words;
  const StatusCode code = SaysOutOfMemory(text) ? StatusCode::kOutOfMemory : to_code(number);
  return Status(code, std::move(text)).WithEngineCode(number);
}

}  // namespace

Status TakeFailure(const Api& api, OrtStatus* status, StatusCode code) {
  return Take(api, status, [code](OrtErrorCode) { return code; });
}

Status TakeLoadStatus(const Api& api, OrtStatus* status) {
  return Take(api, status, [](OrtErrorCode number) {
    switch (number) {
      case kOrtNoSuchFile: return StatusCode::kModelNotFound;
      case kOrtEpFail: return StatusCode::kProvider;
      case kOrtModelLoadCanceled: return StatusCode::kAborted;
      default: return StatusCode::kModelInvalid;
    }
  });
}

}  // namespace tenon::onnxruntime
