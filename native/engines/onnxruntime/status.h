#pragma once

#include <exception>
#include <new>

#include "core/status.h"
#include "engines/onnxruntime/abi.h"

namespace tenon::onnxruntime {

Status TakeFailure(const Api& api, OrtStatus* status, StatusCode code);

// The outcome of an engine call. Releases `status`; an error keeps the engine's
// own text and number, under `code` unless the engine says it ran out of
// memory (kOutOfMemory).
inline Status TakeStatus(const Api& api, OrtStatus* status, StatusCode code) {
  // In line: a run of a small model asks a dozen times, and nearly always for this.
  if (status == nullptr) return {};
  return TakeFailure(api, status, code);
}

// The same for a call that creates a session: the engine's number tells a file
// that is not there (kModelNotFound), a provider that failed (kProvider) and a
// cancelled load (kAborted) from a model it refuses (kModelInvalid).
Status TakeLoadStatus(const Api& api, OrtStatus* status);

// Runs `body`, which returns a Status or a Result, and turns what the standard
// library throws into a Status: nothing is thrown out of the engine layer.
template <typename Body>
auto CatchAll(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, error.what());
  }
}

}  // namespace tenon::onnxruntime
