#pragma once

#include <napi.h>

namespace tenon::addon {

// Adds what concerns the process rather than a model to the addon's exports:
// configure, setLogger and onnxDevices of lib/native/types.ts.
void DefineConfigure(Napi::Env env, Napi::Object exports);

}  // namespace tenon::addon
