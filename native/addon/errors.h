#pragma once

#include <napi.h>

#include "core/status.h"

namespace tenon::addon {

// The TenonError for a status that is not ok.
Napi::Error ToError(Napi::Env env, const Status& status);

// Throws unless `status` is ok.
void ThrowIfError(Napi::Env env, const Status& status);

// An argument of the wrong kind: ERR_TENON_INVALID_ARGUMENT.
[[noreturn]] void ThrowInvalidArgument(Napi::Env env, const std::string& expected);

}  // namespace tenon::addon
