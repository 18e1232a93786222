#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "core/cancel.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// The NativeSession of lib/native/types.ts: one loaded model of one environment.
class SessionWrap : public Napi::ObjectWrap<SessionWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  static Napi::Object New(Napi::Env env, std::shared_ptr<ModelHost> host);

  explicit SessionWrap(const Napi::CallbackInfo& info);
  ~SessionWrap() override;

 private:
  struct Job;

  Napi::Value Run(const Napi::CallbackInfo& info);
  Napi::Value RunSync(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  // Throws ERR_TENON_MODEL_CLOSED once Close was called.
  const std::shared_ptr<ModelHost>& OpenHost(Napi::Env env) const;
  void EndRun(uint32_t ticket);
  void Release();

  std::shared_ptr<ModelHost> host_;
  // Runs that can be cancelled, by the ticket their caller gave them.
  std::unordered_map<uint32_t, std::shared_ptr<CancelToken>> tickets_;
  size_t running_ = 0;
  // Set by Close: resolved once no run is under way and the host is gone.
  std::unique_ptr<class PendingClose> closing_;
};

}  // namespace tenon::addon
