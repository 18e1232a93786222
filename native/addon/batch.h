#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "runtime/gather.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// The arguments of runBatch: numbers, how many of them count, sources, then ticket,
// priority and borrow as for run. Memory that Tenon does not own is copied before this
// returns unless it is borrowed. Throws coded errors; one that is a single member's
// names its position.
std::unique_ptr<Gather> ReadBatch(const Napi::CallbackInfo& info, ModelHost& host, bool borrow);

// A NativeBatchResult of lib/native/types.ts.
Napi::Value WriteBatch(Napi::Env env, const std::vector<ScatteredOutput>& outputs,
                       ModelHost::Stats& stats);

// How many batches were of 2^i to 2^(i + 1) - 1 rows, up to the largest.
Napi::Array WriteBatchSizes(Napi::Env env, const ModelHost::Stats& stats);

}  // namespace tenon::addon
