#pragma once

#include <napi.h>

namespace tenon::addon {

// Adds the JSON tensor codec's functions, NativeJson of lib/native/types.ts.
void DefineJsonCodec(Napi::Env env, Napi::Object exports);

}  // namespace tenon::addon
