#pragma once

#include <napi.h>

namespace tenon::addon {

// session.prepareJson(signature, inputs, output names, micros): the NativeJsonRun of
// lib/native/types.ts. JSON in and out of a model whose runs are short costs one
// crossing that way, where a decoder, a run and an encoder cost three, and make values
// of JavaScript's of every tensor between them.
Napi::Value PrepareJson(const Napi::CallbackInfo& info);

}  // namespace tenon::addon
