#pragma once

#include <exception>
#include <new>
#include <string>

#include "core/status.h"

namespace tenon::tensorflow {

// Calls `body`, which returns a Status or a Result, and turns what the standard
// library throws into a Status: nothing above the engines expects exceptions.
template <typename Body>
auto Guarded(Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    // Short enough for the string's own storage: nothing may be allocated here.
    return Status(StatusCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, error.what());
  }
}

}  // namespace tenon::tensorflow
