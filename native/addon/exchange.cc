#include "addon/exchange.h"

#include <algorithm>
#include <cstddef>

#include "addon/errors.h"
#include "addon/session_wrap.h"
#include "addon/state.h"
#include "addon/values.h"
#include "platform/aligned_memory.h"

namespace tenon::addon {

Napi::Value Exchange::Describe(Napi::Env env) {
  if (block_ != nullptr) return description_.Value();
  Napi::ArrayBuffer buffer =
      Napi::ArrayBuffer::New(env, ExchangeBlock::kByteLength + kTensorAlignment);
  auto* const data = static_cast<unsigned char*>(buffer.Data());
  const size_t over = reinterpret_cast<uintptr_t>(data) % kTensorAlignment;
  const size_t start = over == 0 ? 0 : kTensorAlignment - over;

  Napi::Object description = Napi::Object::New(env);
  const auto set = [&](const char* name, size_t number) {
    description.Set(name, static_cast<double>(number));
  };
  description.Set("buffer", buffer);
  set("start", start);
  set("requestWords", ExchangeBlock::kRequestWords);
  set("resultAt", ExchangeBlock::kResultAt);
  set("feedsAt", ExchangeBlock::kFeedsAt);
  set("feedBytes", ExchangeBlock::kFeedBytes);
  set("alignment", kTensorAlignment);
  set("byteLength", ExchangeBlock::kByteLength);
  description.Set("run", Napi::Function::New<Run>(env, "run", this));
  description.Set("runSync", Napi::Function::New<RunSync>(env, "runSync", this));
  description.Set("setReader", Napi::Function::New(env, [this](const Napi::CallbackInfo& info) {
                    if (!info[0].IsFunction()) ThrowInvalidArgument(info.Env(), "a function");
                    reader_ = Napi::Persistent(info[0].As<Napi::Function>());
                  }));
  description_ = Napi::Persistent(description);
  // The buffer is kept by the description, and that by this. What is bound to the block
  // asks for an owner; it is called on this thread alone, while this is there.
  block_ = std::make_unique<ExchangeBlock>(data + start, std::shared_ptr<void>(data, [](void*) {}));
  return description;
}

Napi::Value Exchange::Give(Napi::Env env, const std::vector<Value>& outputs, ByteCounts* bytes) {
  if (reader_.IsEmpty()) return {};
  const auto byte_length = block_->Write(outputs);
  if (!byte_length) return {};
  bytes->copied.fetch_add(*byte_length, std::memory_order_relaxed);
  return reader_.Call(env.Undefined(), {});
}

uint32_t Exchange::Sessions::Add(SessionWrap* session) {
  auto free = std::find(sessions_.begin(), sessions_.end(), nullptr);
  if (free == sessions_.end()) free = sessions_.insert(free, nullptr);
  *free = session;
  return static_cast<uint32_t>(free - sessions_.begin());
}

SessionWrap& Exchange::Session(const Napi::CallbackInfo& info, Exchange& exchange) {
  SessionWrap* const session = exchange.sessions_->Find(exchange.block_->session());
  if (session == nullptr) ThrowInvalidArgument(info.Env(), "the number of a session");
  return *session;
}

Napi::Value Exchange::Run(const Napi::CallbackInfo& info) {
  auto& exchange = *static_cast<Exchange*>(info.Data());
  return Session(info, exchange).RunExchanged(info, exchange);
}

Napi::Value Exchange::RunSync(const Napi::CallbackInfo& info) {
  auto& exchange = *static_cast<Exchange*>(info.Data());
  return Session(info, exchange).RunExchangedSync(info, exchange);
}

Napi::Value WriteValues(Napi::Env env, const std::vector<Value>& values, ByteCounts* bytes) {
  const Napi::Value given = AddonState::Of(env).exchange.Give(env, values, bytes);
  if (!given.IsEmpty()) return given;
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) {
    const Napi::HandleScope scope(env);
    array.Set(i, WriteValue(env, values[i], bytes));
  }
  return array;
}

}  // namespace tenon::addon
