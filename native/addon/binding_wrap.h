#pragma once

#include <napi.h>

#include <cstring>
#include <memory>
#include <vector>

#include "engines/session.h"

namespace tenon::addon {

class SessionWrap;

// The NativeBinding of lib/native/types.ts: a bound run of one session.
class BindingWrap : public Napi::ObjectWrap<BindingWrap> {
 public:
  // A copy of a feed that is made anew at each run, on the calling thread.
  struct Refresh {
    Tensor from;
    Tensor to;
    void Copy() const {
      if (to.byte_length > 0) std::memcpy(to.data, from.data, to.byte_length);
    }
  };

  static Napi::Function Define(Napi::Env env);
  // `session` is the SessionWrap's object, which the binding keeps. A run with options
  // of its own (`has_options`) is never made on the event loop.
  static Napi::Object New(Napi::Env env, Napi::Object session, std::unique_ptr<BoundRun> bound,
                          size_t signature, std::vector<Refresh> refreshes, bool has_options);

  explicit BindingWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

 private:
  Napi::Value Run(const Napi::CallbackInfo& info);
  static void RunSync(const Napi::CallbackInfo& info);
  void RefreshFeeds() const;
  void ThrowIfBusy(Napi::Env env) const;

  Napi::ObjectReference session_;
  SessionWrap* session_wrap_ = nullptr;
  // Shared with a run on a lane, which may outlive this.
  std::shared_ptr<BoundRun> bound_;
  std::vector<Refresh> refreshes_;
  size_t signature_ = 0;
  bool has_options_ = false;
  bool busy_ = false;
};

}  // namespace tenon::addon
