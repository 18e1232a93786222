#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engines/session.h"
#include "runtime/exchange_block.h"
#include "runtime/model_host.h"

namespace tenon::addon {

class SessionWrap;

// The NativeExchange of lib/native/types.ts: an environment's ExchangeBlock, and the
// calls that read it.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // What JavaScript gets; makes the block at the first call.
  Napi::Value Describe(Napi::Env env);

  // There are requests only once there is a block.
  ExchangeBlock& block() { return *block_; }
  // Outputs by way of the block, as JavaScript reads them from it, which costs a tenth of
  // the values that Node-API makes; empty where they do not fit, or nobody reads. `bytes`
  // is told how many were copied.
  Napi::Value Give(Napi::Env env, const std::vector<Value>& outputs, ByteCounts* bytes);

  // What a request is read into that ends before its call does: kept, so that what it
  // has allocated is there for the next.
  RunRequest& request() { return request_; }

  // The sessions of the environment, by the numbers by which requests name them. Shared
  // with them: who ends first at the environment's end is not said.
  class Sessions {
   public:
    uint32_t Add(SessionWrap* session);
    void Remove(uint32_t number) { sessions_[number] = nullptr; }
    // Null where there is none of that number.
    SessionWrap* Find(int32_t number) const {
      const auto index = static_cast<size_t>(number);
      return index < sessions_.size() ? sessions_[index] : nullptr;
    }

   private:
    std::vector<SessionWrap*> sessions_;
  };
  const std::shared_ptr<Sessions>& sessions() const { return sessions_; }

 private:
  static Napi::Value Run(const Napi::CallbackInfo& info);
  static Napi::Value RunSync(const Napi::CallbackInfo& info);
  static SessionWrap& Session(const Napi::CallbackInfo& info, Exchange& exchange);

  // JavaScript's own memory, which this keeps: external memory is not allowed everywhere.
  Napi::ObjectReference description_;
  std::unique_ptr<ExchangeBlock> block_;
  Napi::FunctionReference reader_;
  RunRequest request_;
  const std::shared_ptr<Sessions> sessions_ = std::make_shared<Sessions>();
};

// An array of tensors and other values for JavaScript, by way of the block where that takes
// them. `bytes` is told what was copied and what was not.
Napi::Value WriteValues(Napi::Env env, const std::vector<Value>& values, ByteCounts* bytes);

}  // namespace tenon::addon
