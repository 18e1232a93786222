// The JSON codec over any bytes: nothing is read or written out of bounds, what was decoded
// is what the slow way decodes and what is read back when it is written, and what was
// refused is refused either way.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/json_examples.h"
#include "codec/json_infer.h"
#include "codec/json_predict.h"
#include "codec/json_write.h"
#include "codec/text_buffer.h"

namespace {

using namespace tenon;
using namespace tenon::codec;
using Outcome = PredictBody::Outcome;
using Inputs = std::vector<InputSpec>;

// The first byte of the input chooses one.
const Inputs kSignatures[] = {
    {{"x", DType::kFloat32}},
    {{"x", DType::kFloat64}},
    {{"x", DType::kString}},
    {{"x", DType::kInt64}},
    {{"x", DType::kUInt64}},
    {{"x", DType::kInt32}},
    {{"x", DType::kUInt8}},
    {{"x", DType::kInt16}},
    {{"x", DType::kBool}},
    {{"x", DType::kUInt32}},
    {{"x", DType::kFloat16}},
    {{"x", DType::kInt8}},
    {{"a", DType::kFloat32}, {"b", DType::kInt64}, {"c", DType::kString}, {"d", DType::kBool}},
};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "expected that %s\n", what);
  std::abort();
}

bool IsSame(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  if (a.dtype == DType::kString) {
    return a.strings->offsets == b.strings->offsets && a.strings->bytes == b.strings->bytes;
  }
  if (a.byte_length != b.byte_length) return false;
  // Whatever bits NaN has: its sign is not written.
  if (a.dtype == DType::kFloat32 || a.dtype == DType::kFloat64) {
    const auto equal = [&]<typename T>(T) {
      const auto* const first = static_cast<const T*>(a.data);
      const auto* const second = static_cast<const T*>(b.data);
      return std::equal(first, first + a.byte_length / sizeof(T), second, [](T left, T right) {
        return std::memcmp(&left, &right, sizeof(T)) == 0 || (left != left && right != right);
      });
    };
    return a.dtype == DType::kFloat32 ? equal(float{}) : equal(double{});
  }
  return a.byte_length == 0 || std::memcmp(a.data, b.data, a.byte_length) == 0;
}

bool IsSame(const PredictBody& a, const PredictBody& b) {
  return std::equal(a.feeds.begin(), a.feeds.end(), b.feeds.begin(), b.feeds.end(),
                    [](const auto& left, const auto& right) {
                      return left.first == right.first && IsSame(left.second, right.second);
                    });
}

PredictBody Decode(std::string_view body, const Inputs& inputs) {
  PredictBody decoded = DecodePredict(body, kDefaultSignature, &inputs);
  for (const auto& [input, tensor] : decoded.feeds) {
    const auto count = ElementCount(tensor.shape);
    Require(count.has_value() && input < inputs.size(), "a feed has a shape and an input");
    const size_t there =
        tensor.dtype == DType::kString
            ? tensor.strings->size()
            : tensor.byte_length / static_cast<size_t>(DTypeBits(tensor.dtype) / 8);
    Require(there == *count, "a tensor has as many elements as its shape");
    Require(there <= body.size(), "no more elements come out than bytes go in");
  }
  return decoded;
}

void CheckSlowWay(const std::string& body, const PredictBody& decoded, const Inputs& inputs) {
  const size_t brace = body.find('{');
  if (brace == std::string::npos) return;
  // A key with an escape keeps the fast way from it.
  std::string slow = body;
  const size_t next = body.find_first_not_of(" \n\r\t", brace + 1);
  const bool has_members = next != std::string::npos && body[next] != '}';
  slow.insert(brace + 1, has_members ? "\"\\u005f\":0," : "\"\\u005f\":0");
  const PredictBody other = Decode(slow, inputs);
  Require(decoded.outcome == other.outcome ||
              // The fast way does not read what is behind the name of another signature.
              decoded.outcome == Outcome::kOtherSignature,
          "both ways have the same outcome");
  if (decoded.outcome == Outcome::kDecoded) {
    Require(decoded.form == other.form && IsSame(decoded, other), "both ways decode the same");
  }
}

void CheckRoundTrip(const PredictBody& decoded, const Inputs& inputs) {
  std::vector<NamedTensor> outputs;
  for (const auto& [input, tensor] : decoded.feeds) {
    // Only UTF-8 and what an escape stands for is written as it was read.
    outputs.push_back({inputs[input].name, tensor});
  }
  for (const BodyForm form : {BodyForm::kRow, BodyForm::kColumnar}) {
    TextBuffer text;
    const auto error = EncodePredict(form, outputs, &text);
    const bool is_scalar = std::any_of(outputs.begin(), outputs.end(), [](const auto& output) {
      return output.tensor.shape.empty();
    });
    if (error) {
      Require(form == BodyForm::kRow, "everything is written as columns");
      continue;
    }
    const std::string written(text.text());
    // Without instances there is no shape.
    if (form == BodyForm::kRow && (is_scalar || outputs.front().tensor.shape[0] == 0)) continue;
    const std::string key = form == BodyForm::kRow ? "instances" : "inputs";
    const size_t start = written.find('"');
    const size_t end = written.find('"', start + 1);
    const PredictBody again =
        Decode(written.substr(0, start + 1) + key + written.substr(end), inputs);
    if (outputs.size() != inputs.size()) continue;
    Require(again.outcome == Outcome::kDecoded && IsSame(decoded, again),
            "what was written is read as it was");
  }
}

// What stands for a datatype of the Open Inference Protocol in `body`, and elements that are read
// as it.
constexpr std::string_view kDatatypes[] = {"BOOL",  "UINT8", "UINT16", "UINT32", "UINT64", "INT8",
                                           "INT16", "INT32", "INT64",  "FP32",   "FP64",   "BYTES"};

InferBody DecodeRequest(std::string_view body) {
  InferBody decoded = DecodeInfer(body);
  Require(decoded.ok != !decoded.error.message.empty(), "there is a request or an error");
  for (const Tensor& tensor : decoded.tensors) {
    Require(decoded.ok, "what is refused has no tensors");
    const size_t count = *ElementCount(tensor.shape);
    const size_t there = tensor.dtype == DType::kString
                             ? tensor.strings->size()
                             : tensor.byte_length / static_cast<size_t>(DTypeBits(tensor.dtype) / 8);
    Require(there == count && count <= body.size(), "a tensor has as many elements as it says");
  }
  return decoded;
}

void CheckInfer(std::string_view body, uint8_t choice) {
  (void)DecodeRequest(body);
  const std::string_view datatype = kDatatypes[choice % std::size(kDatatypes)];
  const std::string head = "{\"inputs\":[{\"datatype\":\"" + std::string(datatype) + "\",\"data\":";
  const InferBody decoded = DecodeRequest(head + std::string(body) + "}]}");
  if (!decoded.ok || decoded.tensors.size() != 1) return;
  TextBuffer text;
  WeaveTensors({head, "}]}"}, decoded.tensors, &text);
  const InferBody again = DecodeRequest(text.text());
  Require(again.ok && again.tensors.size() == 1 && IsSame(decoded.tensors[0], again.tensors[0]),
          "what was woven is read as it was");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Inputs& inputs = kSignatures[data[0] % std::size(kSignatures)];
  // A copy that ends where the body does.
  const std::unique_ptr<char[]> exact(new char[size - 1]);
  std::memcpy(exact.get(), data + 1, size - 1);
  const std::string_view body(exact.get(), size - 1);

  const PredictBody decoded = Decode(body, inputs);
  CheckSlowWay(std::string(body), decoded, inputs);
  if (decoded.outcome == Outcome::kDecoded) CheckRoundTrip(decoded, inputs);
  if (decoded.outcome == Outcome::kRefused) {
    Require(!decoded.error.message.empty(), "a refusal has a text");
  }
  const PredictBody checked = DecodePredict(body, "", nullptr);
  Require(checked.outcome != Outcome::kDecoded, "nothing is decoded without inputs");
  CheckInfer(body, data[0]);
  const ExamplesBody examples = DecodeExamples(body);
  Require(examples.ok == (examples.examples.size() > 0 && examples.error.message.empty()),
          "there are examples or an error");
  return 0;
}
