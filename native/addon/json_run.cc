#include "addon/json_run.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/exchange.h"
#include "addon/json_codec.h"
#include "addon/session_wrap.h"
#include "addon/state.h"
#include "codec/json_predict.h"
#include "codec/json_write.h"

namespace tenon::addon {
namespace {

using Clock = std::chrono::steady_clock;

// More elements than this are not written on the event loop, see
// encodeAtOnceMaxElements of lib/codec/json.ts.
constexpr size_t kMaxElements = 2048;

// What an array in place of an answer begins with.
enum { kOutputs = 0 };

class JsonRun {
 public:
  // Throws what is wrong with the arguments.
  JsonRun(const Napi::CallbackInfo& info, const Signature& signature)
      : session_(Napi::Persistent(info.This().As<Napi::Object>())),
        wrap_(*SessionWrap::Unwrap(info.This().As<Napi::Object>())),
        inputs_(ReadJsonInputs(info[1])),
        micros_(Napi::Persistent(info[3].As<Napi::Float64Array>())),
        taken_micros_(micros_.Value().Data()) {
    const Napi::Env env = info.Env();
    const auto index = [&](const std::vector<ValueSpec>& specs, std::string_view name) {
      const auto found = std::ranges::find(specs, name, &ValueSpec::name);
      if (found == specs.end() || found->kind != ValueSpec::Kind::kTensor) {
        ThrowInvalidArgument(env, "names of the signature's tensors");
      }
      return static_cast<size_t>(found - specs.begin());
    };
    request_.signature = info[0].As<Napi::Number>().Uint32Value();
    for (const codec::InputSpec& spec : inputs_->specs) {
      input_indices_.push_back(index(signature.inputs, spec.name));
    }
    const auto names = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < names.Length(); ++i) {
      std::string name = names.Get(i).ToString();
      request_.outputs.push_back(index(signature.outputs, name));
      outputs_.push_back({std::move(name), {}});
    }
  }

  Napi::Value Run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    ModelHost& host = *wrap_.OpenHost(env);
    AddonState& state = AddonState::Of(env);
    const std::string_view text = ReadJsonBody(info[0]);
    if (!host.RunsInline(request_.signature) || !state.HasInlineTime()) return env.Undefined();
    codec::PredictBody body;
    ThrowIfError(env, AttemptJson([&] {
                   body = codec::DecodePredict(text, inputs_->signature, &inputs_->specs);
                 }));
    if (body.outcome != codec::PredictBody::Outcome::kDecoded) return env.Undefined();
    if (body.feeds.size() != inputs_->specs.size()) return env.Undefined();

    request_.inputs.clear();
    request_.feeds.clear();
    for (auto& [input, tensor] : body.feeds) {
      host.stats().feeds.passed.fetch_add(tensor.byte_length, std::memory_order_relaxed);
      request_.inputs.push_back(input_indices_[input]);
      request_.feeds.push_back(Value::Of(std::move(tensor)));
    }
    request_.copied_bytes = &host.stats().feeds.copied;
    uint64_t nanoseconds = 0;
    auto outputs = host.Run(request_, &nanoseconds);
    request_.feeds.clear();
    *taken_micros_ = static_cast<double>(nanoseconds) / 1e3;
    host.stats().inline_runs.fetch_add(1, std::memory_order_relaxed);
    state.NoteInline(std::chrono::nanoseconds(nanoseconds));
    ThrowIfError(env, outputs.status());
    return Write(env, body.form, std::move(outputs.value()), &host.stats().outputs);
  }

 private:
  Napi::Value Write(Napi::Env env, codec::BodyForm form, std::vector<Value> values,
                    ByteCounts* bytes) {
    size_t elements = 0;
    for (const Value& value : values) elements += ElementCount(value.tensor.shape).value_or(0);
    if (elements > kMaxElements) {
      Napi::Array result = Napi::Array::New(env, 3);
      result.Set(0u, static_cast<uint32_t>(kOutputs));
      result.Set(1u, static_cast<uint32_t>(form));
      result.Set(2u, WriteValues(env, values, bytes));
      return result;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      bytes->passed.fetch_add(values[i].tensor.byte_length, std::memory_order_relaxed);
      outputs_[i].tensor = std::move(values[i].tensor);
    }
    JsonText answer;
    const Status status = AttemptJson(
        [&] { answer.error = codec::EncodePredict(form, outputs_, answer.text.get()); });
    for (codec::NamedTensor& output : outputs_) output.tensor = {};
    ThrowIfError(env, status);
    return WriteJsonText(env, answer);
  }

  // Keeps what `wrap_` is of.
  const Napi::ObjectReference session_;
  SessionWrap& wrap_;
  const std::shared_ptr<const JsonInputs> inputs_;
  std::vector<size_t> input_indices_;
  const Napi::Reference<Napi::Float64Array> micros_;
  double* const taken_micros_;
  // Kept for what they have allocated; between runs they hold no tensor.
  RunRequest request_;
  std::vector<codec::NamedTensor> outputs_;
};

}  // namespace

Napi::Value PrepareJson(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& signatures =
      SessionWrap::Unwrap(info.This().As<Napi::Object>())->OpenHost(env)->info().signatures;
  const size_t signature = ReadSignature(info);
  if (signature >= signatures.size()) ThrowInvalidArgument(env, "the index of a signature");
  if (ReadJsonInputs(info[1]) == nullptr) ThrowInvalidArgument(env, "inputs");
  if (!info[2].IsArray()) ThrowInvalidArgument(env, "the names of outputs");
  if (!info[3].IsTypedArray() ||
      info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      info[3].As<Napi::TypedArray>().ElementLength() == 0) {
    ThrowInvalidArgument(env, "a Float64Array for the microseconds of a run");
  }
  auto run = std::make_unique<JsonRun>(info, signatures[signature]);
  JsonRun* const held = run.get();
  Napi::Function function = Napi::Function::New(
      env, [held](const Napi::CallbackInfo& call) { return held->Run(call); }, "runJson");
  function.AddFinalizer([](Napi::Env, JsonRun* gone) { delete gone; }, run.release());
  return function;
}

}  // namespace tenon::addon
