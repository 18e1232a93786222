#pragma once

#include <napi.h>

#include <memory>

#include "runtime/lane_pool.h"

namespace tenon::addon {

// The NativePool of lib/native/types.ts: a holder of lanes that models share.
class PoolWrap : public Napi::ObjectWrap<PoolWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  // createPool(lanes, spinMicros).
  static Napi::Value Create(const Napi::CallbackInfo& info);

  explicit PoolWrap(const Napi::CallbackInfo& info);
  ~PoolWrap() override;

  // Throws ERR_TENON_POOL_CLOSED once Close was called.
  const std::shared_ptr<LanePool>& OpenPool(Napi::Env env) const;

 private:
  Napi::Value Stats(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  std::shared_ptr<LanePool> pool_;
};

// The lanes of a NativePool.
std::shared_ptr<LanePool> ReadLanePool(Napi::Value value);

// What each lane that has started has done: runs, busy time, busy now.
Napi::Array WriteLanes(Napi::Env env, const LanePool::Stats& stats);

}  // namespace tenon::addon
