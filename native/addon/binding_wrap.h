#pragma once

#include <napi.h>

#include <memory>

#include "engines/session.h"

namespace tenon::addon {

// The NativeBinding of lib/native/types.ts: a bound run of one session.
class BindingWrap : public Napi::ObjectWrap<BindingWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  // `session` is the SessionWrap's object, which the binding keeps.
  static Napi::Object New(Napi::Env env, Napi::Object session, std::unique_ptr<BoundRun> bound,
                          size_t signature);

  explicit BindingWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

 private:
  Napi::Value Run(const Napi::CallbackInfo& info);
  void RunSync(const Napi::CallbackInfo& info);
  void ThrowIfBusy(Napi::Env env) const;

  Napi::ObjectReference session_;
  // Shared with a run on a lane, which may outlive this.
  std::shared_ptr<BoundRun> bound_;
  size_t signature_ = 0;
  bool busy_ = false;
};

}  // namespace tenon::addon
