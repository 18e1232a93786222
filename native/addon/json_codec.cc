#include "addon/json_codec.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "addon/errors.h"
#include "addon/exchange.h"
#include "addon/state.h"
#include "addon/values.h"
#include "codec/decimal.h"
#include "codec/json_examples.h"
#include "codec/json_infer.h"
#include "codec/json_predict.h"
#include "codec/json_write.h"

namespace tenon::addon {
namespace {

// What the arrays that go to JavaScript begin with.
enum { kDone = 0, kOtherSignature = 1, kRefused = 2 };

constexpr napi_type_tag kInputsTag = {0x6c1f5be34a0d4f6e, 0x9a53e0c4d27b18f1};

std::string ReadText(Napi::Value value, const char* what) {
  if (!value.IsString()) ThrowInvalidArgument(value.Env(), what);
  return value.As<Napi::String>().Utf8Value();
}

Napi::Array ReadArray(Napi::Value value, const char* what) {
  if (!value.IsArray()) ThrowInvalidArgument(value.Env(), what);
  return value.As<Napi::Array>();
}

codec::BodyForm ReadForm(Napi::Value value) {
  if (!value.IsNumber()) ThrowInvalidArgument(value.Env(), "the number of a form");
  return value.As<Napi::Number>().Uint32Value() == 0 ? codec::BodyForm::kRow
                                                     : codec::BodyForm::kColumnar;
}

// A result of either sort of call: of one on this thread, or of one that came from another.
template <typename T>
struct Answer {
  T value;
  Status status;
};

template <typename T, typename Work>
void Attempt(Work&& work, Answer<T>* answer) {
  answer->status = AttemptJson([&] { work(&answer->value); });
}

// Does `work` on a thread of the codec, with `lent` alive and left alone by its owner
// until it has ended, and resolves with what `write` makes of the result.
template <typename T, typename Work, typename Write>
Napi::Value OnThread(Napi::Object lent, Work work, Write write) {
  const Napi::Env env = lent.Env();
  AddonState& state = AddonState::Of(env);
  const PendingPromise pending(env);
  auto borrower = std::make_shared<Borrower>();
  borrower->lent = Napi::Persistent(lent);
  borrower->executor = &AddonState::Codec();
  auto answer = std::make_shared<Answer<T>>();
  const auto submitted = borrower->executor->Submit([=] {
    Attempt<T>(work, answer.get());
    borrower->left.set_value();
    pending.Settle([=](Napi::Env settle_env) -> Napi::Value {
      AddonState::Of(settle_env).Remove(borrower);
      ThrowIfError(settle_env, answer->status);
      return write(settle_env, answer->value);
    });
  });
  if (!submitted.ok()) {
    borrower->lent.Reset();
    pending.Reject(submitted.status());
    return pending.promise();
  }
  borrower->queued = submitted.value();
  state.Add(borrower);
  return pending.promise();
}

template <typename T, typename Work, typename Write>
Napi::Value AtOnce(Napi::Env env, Work work, Write write) {
  Answer<T> answer;
  Attempt<T>(work, &answer);
  ThrowIfError(env, answer.status);
  return write(env, answer.value);
}

Napi::Value WriteRefusal(Napi::Env env, const codec::RequestError& error) {
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0u, static_cast<uint32_t>(kRefused));
  result.Set(1u, static_cast<uint32_t>(error.code));
  result.Set(2u, error.message);
  return result;
}

// --- Predict requests ---

Napi::Value CreateInputs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto inputs = std::make_unique<JsonInputs>();
  inputs->signature = ReadText(info[0], "the name of a signature");
  const Napi::Array names = ReadArray(info[1], "the names of inputs");
  const Napi::Array dtypes = ReadArray(info[2], "the numbers of dtypes");
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const Napi::HandleScope scope(env);
    uint32_t number = 0;
    const auto dtype = napi_get_value_uint32(env, dtypes.Get(i), &number) == napi_ok
                           ? DTypeFromNumber(number)
                           : std::nullopt;
    if (!dtype) ThrowInvalidArgument(env, "the number of a dtype");
    inputs->specs.push_back({ReadText(names.Get(i), "the name of an input"), *dtype});
  }
  using Held = std::shared_ptr<const JsonInputs>;
  auto external = Napi::External<Held>::New(env, new Held(std::move(inputs)),
                                            [](Napi::Env, Held* held) { delete held; });
  external.TypeTag(&kInputsTag);
  return external;
}

Napi::Value WritePredict(Napi::Env env, codec::PredictBody& body) {
  switch (body.outcome) {
    case codec::PredictBody::Outcome::kRefused: return WriteRefusal(env, body.error);
    case codec::PredictBody::Outcome::kOtherSignature: {
      Napi::Array result = Napi::Array::New(env, 2);
      result.Set(0u, static_cast<uint32_t>(kOtherSignature));
      result.Set(1u, body.signature);
      return result;
    }
    case codec::PredictBody::Outcome::kDecoded: break;
  }
  std::vector<Value> tensors;
  tensors.reserve(body.feeds.size());
  Napi::Array result = Napi::Array::New(env, 3 + body.feeds.size());
  result.Set(0u, static_cast<uint32_t>(kDone));
  result.Set(1u, static_cast<uint32_t>(body.form));
  uint32_t at = 3;
  for (auto& [input, tensor] : body.feeds) {
    result.Set(at++, static_cast<uint32_t>(input));
    tensors.push_back(Value::Of(std::move(tensor)));
  }
  ByteCounts bytes;
  result.Set(2u, WriteValues(env, tensors, &bytes));
  return result;
}

// (body, inputs or null, whether on a thread)
Napi::Value DecodePredict(const Napi::CallbackInfo& info) {
  const std::string_view body = ReadJsonBody(info[0]);
  const auto work = [body, inputs = ReadJsonInputs(info[1])](codec::PredictBody* decoded) {
    *decoded = inputs == nullptr ? codec::DecodePredict(body, "", nullptr)
                                 : codec::DecodePredict(body, inputs->signature, &inputs->specs);
  };
  if (info[2].ToBoolean()) {
    return OnThread<codec::PredictBody>(info[0].As<Napi::Object>(), work, WritePredict);
  }
  return AtOnce<codec::PredictBody>(info.Env(), work, WritePredict);
}

// --- Classify and regress requests ---

Napi::Value WriteExamples(Napi::Env env, codec::ExamplesBody& body) {
  if (!body.ok) return WriteRefusal(env, body.error);
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0u, static_cast<uint32_t>(kDone));
  result.Set(1u, body.signature);
  Tensor examples;
  examples.dtype = DType::kString;
  examples.shape = {static_cast<int64_t>(body.examples.size())};
  examples.strings = std::make_shared<StringTable>(std::move(body.examples));
  ByteCounts bytes;
  result.Set(2u, WriteValue(env, Value::Of(std::move(examples)), &bytes));
  return result;
}

// (body, whether on a thread)
Napi::Value DecodeExamples(const Napi::CallbackInfo& info) {
  const auto work = [body = ReadJsonBody(info[0])](codec::ExamplesBody* decoded) {
    *decoded = codec::DecodeExamples(body);
  };
  if (info[1].ToBoolean()) {
    return OnThread<codec::ExamplesBody>(info[0].As<Napi::Object>(), work, WriteExamples);
  }
  return AtOnce<codec::ExamplesBody>(info.Env(), work, WriteExamples);
}

// --- Answers ---

// A string of so few bytes costs less than a buffer, and goes to a socket with the header.
constexpr size_t kMaxStringBytes = 1024;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

// A tensor whose memory is as large as its shape says.
Tensor ReadOutput(Napi::Value value, FeedMemory memory) {
  const Napi::Env env = value.Env();
  ByteCounts bytes;
  Value output = ReadValue(value, memory, &bytes);
  if (output.kind != Value::Kind::kTensor) {
    ThrowInvalidArgument(env, "tensors in host memory to write as JSON");
  }
  Tensor& tensor = output.tensor;
  const auto count = ElementCount(tensor.shape);
  const bool fits = count && (tensor.dtype == DType::kString
                                  ? tensor.strings->size() == *count
                                  : DTypeByteLength(tensor.dtype, *count) == tensor.byte_length);
  if (!fits) ThrowInvalidArgument(env, "as many elements as a tensor's shape has");
  return std::move(tensor);
}

// (form, names, tensors, whether on a thread)
Napi::Value EncodePredict(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const codec::BodyForm form = ReadForm(info[0]);
  const Napi::Array names = ReadArray(info[1], "the names of outputs");
  const Napi::Array tensors = ReadArray(info[2], "the tensors of outputs");
  const bool on_thread = info[3].ToBoolean();
  // What JavaScript writes to a tensor while it is read is seen or not, and does no harm.
  const FeedMemory memory = on_thread ? FeedMemory::kKept : FeedMemory::kBorrowed;
  auto outputs = std::make_shared<std::vector<codec::NamedTensor>>();
  for (uint32_t i = 0; i < tensors.Length(); ++i) {
    const Napi::HandleScope scope(env);
    outputs->push_back(
        {ReadText(names.Get(i), "the name of an output"), ReadOutput(tensors.Get(i), memory)});
  }
  const auto work = [form, outputs](JsonText* encoded) {
    encoded->error = codec::EncodePredict(form, *outputs, encoded->text.get());
    outputs->clear();
  };
  if (on_thread) return OnThread<JsonText>(tensors, work, WriteJsonText);
  return AtOnce<JsonText>(env, work, WriteJsonText);
}

// --- The Open Inference Protocol ---

Napi::Value WriteInfer(Napi::Env env, codec::InferBody& body) {
  if (!body.ok) return WriteRefusal(env, body.error);
  std::vector<Value> tensors;
  tensors.reserve(body.tensors.size());
  for (Tensor& tensor : body.tensors) tensors.push_back(Value::Of(std::move(tensor)));
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0u, static_cast<uint32_t>(kDone));
  result.Set(1u, body.text);
  ByteCounts bytes;
  result.Set(2u, WriteValues(env, tensors, &bytes));
  return result;
}

// (body, whether on a thread)
Napi::Value DecodeInfer(const Napi::CallbackInfo& info) {
  const auto work = [body = ReadJsonBody(info[0])](codec::InferBody* decoded) {
    *decoded = codec::DecodeInfer(body);
  };
  if (info[1].ToBoolean()) {
    return OnThread<codec::InferBody>(info[0].As<Napi::Object>(), work, WriteInfer);
  }
  return AtOnce<codec::InferBody>(info.Env(), work, WriteInfer);
}

// (pieces, tensors, whether on a thread)
Napi::Value Weave(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array pieces = ReadArray(info[0], "the pieces of a text");
  const Napi::Array tensors = ReadArray(info[1], "tensors to write as JSON");
  const bool on_thread = info[2].ToBoolean();
  const FeedMemory memory = on_thread ? FeedMemory::kKept : FeedMemory::kBorrowed;
  struct Woven {
    std::vector<std::string> pieces;
    std::vector<Tensor> tensors;
  };
  auto woven = std::make_shared<Woven>();
  for (uint32_t i = 0; i < pieces.Length(); ++i) {
    const Napi::HandleScope scope(env);
    woven->pieces.push_back(ReadText(pieces.Get(i), "a piece of a text"));
  }
  for (uint32_t i = 0; i < tensors.Length(); ++i) {
    const Napi::HandleScope scope(env);
    woven->tensors.push_back(ReadOutput(tensors.Get(i), memory));
    if (!codec::CanBeWritten(woven->tensors.back().dtype)) {
      ThrowInvalidArgument(env, "elements that can be written as JSON");
    }
  }
  const auto work = [woven](JsonText* encoded) {
    codec::WeaveTensors(woven->pieces, woven->tensors, encoded->text.get());
    woven->tensors.clear();
  };
  if (on_thread) return OnThread<JsonText>(tensors, work, WriteJsonText);
  return AtOnce<JsonText>(env, work, WriteJsonText);
}

// (number, whether it is a float)
Napi::Value EncodeNumber(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) ThrowInvalidArgument(info.Env(), "a number to write as JSON");
  const double number = info[0].As<Napi::Number>().DoubleValue();
  char text[codec::kMaxDecimalLength];
  const char* const end = info[1].ToBoolean()
                              ? codec::WriteDecimal(text, static_cast<float>(number))
                              : codec::WriteDecimal(text, number);
  return Napi::String::New(info.Env(), text, static_cast<size_t>(end - text));
}

}  // namespace

std::string_view ReadJsonBody(Napi::Value value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowInvalidArgument(value.Env(), "a Uint8Array for the body of a request");
  }
  const auto body = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<const char*>(body.Data()), body.ByteLength()};
}

std::shared_ptr<const JsonInputs> ReadJsonInputs(Napi::Value value) {
  if (value.IsNull()) return nullptr;
  if (!value.IsExternal() || !value.As<Napi::Object>().CheckTypeTag(&kInputsTag)) {
    ThrowInvalidArgument(value.Env(), "what createJsonInputs gave");
  }
  return *value.As<Napi::External<std::shared_ptr<const JsonInputs>>>().Data();
}

Napi::Value WriteJsonText(Napi::Env env, JsonText& encoded) {
  if (encoded.error) return WriteRefusal(env, *encoded.error);
  const size_t size = encoded.text->size();
  if (size <= kMaxStringBytes && IsAscii(encoded.text->text())) {
    napi_value string;
    const napi_status status =
        napi_create_string_latin1(env, encoded.text->text().data(), size, &string);
    if (status != napi_ok) throw Napi::Error::New(env);
    return {env, string};
  }
  if (size >= kExternalMinBytes && AddonState::Of(env).MayHandOut(size)) {
    const auto memory = encoded.text->Take();
    return ExternalBuffer(env, memory.get(), size, memory);
  }
  const std::string_view text = encoded.text->text();
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, text.size());
  text.copy(static_cast<char*>(copy.Data()), text.size());
  return copy;
}

void DefineJsonCodec(Napi::Env env, Napi::Object exports) {
  Napi::Object json = Napi::Object::New(env);
  json.Set("createInputs", Napi::Function::New(env, CreateInputs));
  json.Set("decodePredict", Napi::Function::New(env, DecodePredict));
  json.Set("decodeExamples", Napi::Function::New(env, DecodeExamples));
  json.Set("encodePredict", Napi::Function::New(env, EncodePredict));
  json.Set("decodeInfer", Napi::Function::New(env, DecodeInfer));
  json.Set("weave", Napi::Function::New(env, Weave));
  json.Set("encodeNumber", Napi::Function::New(env, EncodeNumber));
  exports.Set("json", json);
}

}  // namespace tenon::addon
