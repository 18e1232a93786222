#include "addon/errors.h"

#include <string>

#include "addon/state.h"

namespace tenon::addon {

Napi::Error ToError(Napi::Env env, const Status& status) {
  AddonState& state = AddonState::Of(env);
  const auto code = Napi::String::New(env, std::string(StatusCodeName(status.code())));
  const auto message = Napi::String::New(env, status.message());
  if (state.error_constructor.IsEmpty()) {
    Napi::Error error = Napi::Error::New(env, status.message());
    error.Set("code", code);
    return error;
  }
  Napi::Object options = Napi::Object::New(env);
  if (status.engine_code() != 0) options.Set("engineCode", status.engine_code());
  return Napi::Error(env, state.error_constructor.New({code, message, options}));
}

void ThrowIfError(Napi::Env env, const Status& status) {
  if (!status.ok()) throw ToError(env, status);
}

void ThrowInvalidArgument(Napi::Env env, const std::string& expected) {
  throw ToError(env, {StatusCode::kInvalidArgument, "expected " + expected});
}

}  // namespace tenon::addon
