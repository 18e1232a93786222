#include "addon/pool_wrap.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "addon/errors.h"
#include "addon/state.h"

namespace tenon::addon {
namespace {

// What tells a NativePool from any other object.
constexpr napi_type_tag kTag = {0x54656e6f6e506f6f, 0x6c4c616e65733031};

}  // namespace

Napi::Function PoolWrap::Define(Napi::Env env) {
  return DefineClass(
      env, "NativePool",
      {InstanceMethod("stats", &PoolWrap::Stats), InstanceMethod("close", &PoolWrap::Close)});
}

Napi::Value PoolWrap::Create(const Napi::CallbackInfo& info) {
  return AddonState::Of(info.Env()).pool_constructor.New({info[0], info[1], info[2]});
}

PoolWrap::PoolWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsNumber()) {
    ThrowInvalidArgument(env, "a number of lanes, microseconds and a niceness");
  }
  LanePoolOptions options;
  options.lanes = info[0].As<Napi::Number>().Uint32Value();
  options.spin = std::chrono::microseconds(info[1].As<Napi::Number>().Uint32Value());
  options.niceness = info[2].As<Napi::Number>().Int32Value();
  pool_ = LanePool::Create(std::move(options));
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

PoolWrap::~PoolWrap() {
  if (pool_ == nullptr) return;
  // As a session's end: the last holder waits for the lanes, which is not for here.
  (void)AddonState::Background().Submit([pool = std::move(pool_)]() mutable { pool.reset(); });
}

const std::shared_ptr<LanePool>& PoolWrap::OpenPool(Napi::Env env) const {
  if (pool_ == nullptr) {
    throw ToError(env, {StatusCode::kPoolClosed, "expected an open pool, received a closed one"});
  }
  return pool_;
}

Napi::Value PoolWrap::Stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const LanePool::Stats stats = OpenPool(env)->stats();
  Napi::Object object = Napi::Object::New(env);
  object.Set("sessions", static_cast<double>(stats.executors));
  object.Set("queuedRuns", static_cast<double>(stats.waiting));
  object.Set("busyLanes", static_cast<double>(stats.running));
  object.Set("lanes", WriteLanes(env, stats));
  return object;
}

Napi::Value PoolWrap::Close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpenPool(env);
  const PendingPromise closing(env);
  auto release = [pool = std::move(pool_), closing]() mutable {
    pool.reset();
    closing.Settle([](Napi::Env settle_env) { return settle_env.Undefined(); });
  };
  // Without a thread it ends here, which blocks, rather than never.
  const auto shared = std::make_shared<decltype(release)>(std::move(release));
  if (!AddonState::Background().Submit([shared] { (*shared)(); }).ok()) (*shared)();
  return closing.promise();
}

std::shared_ptr<LanePool> ReadLanePool(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    ThrowInvalidArgument(value.Env(), "what createPool gave for \"pool\"");
  }
  return PoolWrap::Unwrap(value.As<Napi::Object>())->OpenPool(value.Env());
}

Napi::Array WriteLanes(Napi::Env env, const LanePool::Stats& stats) {
  Napi::Array lanes = Napi::Array::New(env, stats.lanes.size());
  for (uint32_t i = 0; i < stats.lanes.size(); ++i) {
    const LanePool::LaneStats& lane = stats.lanes[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", static_cast<double>(lane.id));
    object.Set("runs", static_cast<double>(lane.runs));
    object.Set("busyMicros", static_cast<double>(lane.busy.count()) / 1e3);
    object.Set("isBusy", lane.is_busy);
    lanes.Set(i, object);
  }
  return lanes;
}

}  // namespace tenon::addon
