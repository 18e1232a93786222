#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "addon/values.h"
#include "engines/session.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// The arguments of run, runSync and bind, in this order: signature, inputs,
// feeds, outputs, targets (or undefined); for run also ticket, priority, borrow;
// last, where it is given, what the engine is told of this run.

struct RunSettings {
  uint32_t ticket = 0;  // 0: cannot be cancelled by its caller
  int priority = 0;     // higher runs first
  bool borrow = false;  // buffers of the caller go by pointer
};

enum class SettingsAt : size_t { kRun = 5, kRunBatch = 3 };

// Numbers that fit 32 bits; which of them are indices of something is checked later.
std::vector<size_t> ReadIndices(Napi::Env env, napi_value array);
size_t ReadSignature(const Napi::CallbackInfo& info);
// `targets` says which memory outputs may be written into.
RunRequest ReadRequest(const Napi::CallbackInfo& info, FeedMemory memory, FeedMemory targets,
                       ModelHost::Stats* stats);
// Ticket, priority and borrow, of which the first is at `first`.
RunSettings ReadSettings(const Napi::CallbackInfo& info, SettingsAt first);
// Of the arguments of runBatch: whether it is to go to a lane however short it is.
bool IsForLane(const Napi::CallbackInfo& info);

// Where that last argument is.
enum class OptionsAt : size_t { kRun = 8, kRunSync = 5, kBind = 5 };
bool HasRunOptions(const Napi::CallbackInfo& info, OptionsAt at);
std::shared_ptr<const EngineRunOptions> ReadRunOptions(const Napi::CallbackInfo& info,
                                                       OptionsAt at);

}  // namespace tenon::addon
