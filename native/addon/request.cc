#include "addon/request.h"

#include <vector>

#include "addon/errors.h"
#include "addon/options.h"

namespace tenon::addon {
namespace {

// The positions of the arguments.
enum { kSignature, kInputs, kFeeds, kOutputs, kTargets };

// What `targets` holds for an output that is no tensor to write into.
enum { kTargetHost = 0, kTargetEngine = 1 };

uint32_t ArrayLength(Napi::Env env, napi_value array, const char* what) {
  uint32_t length = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok) {
    ThrowInvalidArgument(env, std::string("an array of ") + what);
  }
  return length;
}

napi_value Element(Napi::Env env, napi_value array, uint32_t index) {
  napi_value element = nullptr;
  if (napi_get_element(env, array, index, &element) != napi_ok) throw Napi::Error::New(env);
  return element;
}

std::vector<OutputTarget> ReadTargets(Napi::Env env, Napi::Value array, FeedMemory memory) {
  if (array.IsUndefined()) return {};
  std::vector<OutputTarget> targets(ArrayLength(env, array, "targets"));
  for (uint32_t i = 0; i < targets.size(); ++i) {
    const Napi::Value target(env, Element(env, array, i));
    if (target.IsNumber()) {
      targets[i].kind = target.As<Napi::Number>().Uint32Value() == kTargetEngine
                            ? OutputTarget::Kind::kEngine
                            : OutputTarget::Kind::kHost;
    } else {
      targets[i].kind = OutputTarget::Kind::kInto;
      targets[i].into = ReadTarget(target, memory);
    }
  }
  return targets;
}

}  // namespace

std::vector<size_t> ReadIndices(Napi::Env env, napi_value array) {
  std::vector<size_t> indices(ArrayLength(env, array, "indices"));
  for (uint32_t i = 0; i < indices.size(); ++i) {
    uint32_t index = 0;
    if (napi_get_value_uint32(env, Element(env, array, i), &index) != napi_ok) {
      ThrowInvalidArgument(env, "an array of indices");
    }
    indices[i] = index;
  }
  return indices;
}

size_t ReadSignature(const Napi::CallbackInfo& info) {
  uint32_t signature = 0;
  if (napi_get_value_uint32(info.Env(), info[kSignature], &signature) != napi_ok) {
    ThrowInvalidArgument(info.Env(), "the index of a signature");
  }
  return signature;
}

RunRequest ReadRequest(const Napi::CallbackInfo& info, FeedMemory memory, FeedMemory targets,
                       ModelHost::Stats* stats) {
  const Napi::Env env = info.Env();
  RunRequest request;
  request.signature = ReadSignature(info);
  request.inputs = ReadIndices(env, info[kInputs]);
  const napi_value feeds = info[kFeeds];
  request.feeds.resize(ArrayLength(env, feeds, "feeds"));
  for (uint32_t i = 0; i < request.feeds.size(); ++i) {
    request.feeds[i] = ReadValue({env, Element(env, feeds, i)}, memory, &stats->feeds);
  }
  request.outputs = ReadIndices(env, info[kOutputs]);
  request.targets = ReadTargets(env, info[kTargets], targets);
  request.copied_bytes = &stats->feeds.copied;
  return request;
}

RunSettings ReadSettings(const Napi::CallbackInfo& info, SettingsAt first) {
  const auto at = static_cast<size_t>(first);
  RunSettings settings;
  settings.ticket = info[at].As<Napi::Number>().Uint32Value();
  settings.priority = info[at + 1].As<Napi::Number>().Int32Value();
  settings.borrow = info[at + 2].As<Napi::Boolean>().Value();
  return settings;
}

bool IsForLane(const Napi::CallbackInfo& info) { return info[6].As<Napi::Boolean>().Value(); }

bool HasRunOptions(const Napi::CallbackInfo& info, OptionsAt at) {
  const auto position = static_cast<size_t>(at);
  return info.Length() > position && !info[position].IsUndefined();
}

std::shared_ptr<const EngineRunOptions> ReadRunOptions(const Napi::CallbackInfo& info,
                                                       OptionsAt at) {
  return HasRunOptions(info, at) ? ReadRunOptions(info[static_cast<size_t>(at)]) : nullptr;
}

}  // namespace tenon::addon
