#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/value.h"
#include "engines/onnxruntime/engine.h"
#include "platform/aligned_memory.h"
#include "test/test.h"

// What the tests over a real ONNX Runtime share. They need the variable
// TENON_ONNXRUNTIME_LIBRARY, the path of the library, and fail without it.

namespace tenon::onnxruntime {

inline std::string LibraryPath() {
  const char* path = std::getenv("TENON_ONNXRUNTIME_LIBRARY");
  if (path == nullptr) {
    tenon::test::Fail(__FILE__, __LINE__,
                      "expected TENON_ONNXRUNTIME_LIBRARY, the path of an ONNX Runtime library");
    throw tenon::test::Stop{};
  }
  return path;
}

inline std::shared_ptr<Engine> TheEngine() {
  EnvironmentOptions options;
  options.log_severity = 4;  // failures are what many of these tests ask for
  auto engine = Open(LibraryPath(), options);
  CHECK_OK(engine);
  return *engine;
}

inline std::string Fixture(std::string_view name) {
  return std::string(TENON_FIXTURES_DIR) + "/" + std::string(name);
}

inline Result<std::shared_ptr<Session>> TryLoad(const std::string& model,
                                                const SessionOptions& options = {},
                                                CancelToken* cancel = nullptr) {
  ModelSource source;
  source.bytes = model.data();
  source.byte_length = model.size();
  return CreateSession(TheEngine(), source, options, cancel);
}

inline Result<std::shared_ptr<Session>> TryLoadFile(const std::string& path,
                                                    const SessionOptions& options = {}) {
  ModelSource source;
  source.path = path;
  return CreateSession(TheEngine(), source, options, nullptr);
}

inline std::shared_ptr<Session> LoadModel(const std::string& model,
                                          const SessionOptions& options = {}) {
  auto session = TryLoad(model, options);
  CHECK_OK(session);
  return *session;
}

inline Value BytesTensor(DType dtype, Shape shape, std::string_view bytes) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.owner = AllocateAligned(bytes.size());
  tensor.data = tensor.owner.get();
  tensor.byte_length = bytes.size();
  if (!bytes.empty()) std::memcpy(tensor.data, bytes.data(), bytes.size());
  return Value::Of(std::move(tensor));
}

inline Value Floats(const std::vector<float>& values, Shape shape) {
  return BytesTensor(DType::kFloat32, std::move(shape),
                     {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}
inline Value Floats(const std::vector<float>& values) {
  return Floats(values, {static_cast<int64_t>(values.size())});
}
inline Value Int64s(const std::vector<int64_t>& values) {
  return BytesTensor(
      DType::kInt64, {static_cast<int64_t>(values.size())},
      {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)});
}
// A vector of floats where no float may lie.
inline Value AtOddAddress(const std::vector<float>& values) {
  const size_t byte_length = values.size() * sizeof(float);
  Value value = BytesTensor(DType::kUInt8, {0}, std::string(byte_length + 1, '\0'));
  Tensor& tensor = value.tensor;
  tensor.dtype = DType::kFloat32;
  tensor.shape = {static_cast<int64_t>(values.size())};
  tensor.data = static_cast<char*>(tensor.data) + 1;
  tensor.byte_length = byte_length;
  if (byte_length > 0) std::memcpy(tensor.data, values.data(), byte_length);
  return value;
}

inline Value Strings(std::initializer_list<std::string_view> values) {
  auto table = std::make_shared<StringTable>();
  for (std::string_view value : values) table->Append(value);
  Tensor tensor;
  tensor.dtype = DType::kString;
  tensor.shape = {static_cast<int64_t>(values.size())};
  tensor.strings = std::move(table);
  return Value::Of(std::move(tensor));
}
inline Value Sequence(std::vector<Value> items) {
  Value value;
  value.kind = Value::Kind::kSequence;
  value.items = std::move(items);
  return value;
}
inline Value Map(Value keys, Value values) {
  Value value;
  value.kind = Value::Kind::kMap;
  value.items = {std::move(keys), std::move(values)};
  return value;
}

// A value as text, to compare: "float32[2] 1 2", "int4[3] 21 03" (bytes in hex),
// "string[1] 'a'", "(a; b)" for a sequence, "{keys; values}" for a map, "none".
inline std::string Show(const Value& value) {
  std::ostringstream text;
  if (value.kind == Value::Kind::kNone) return "none";
  if (value.kind == Value::Kind::kTensor) {
    const Tensor& tensor = value.tensor;
    text << DTypeName(tensor.dtype) << ShapeToString(tensor.shape);
    if (tensor.dtype == DType::kString) {
      for (size_t i = 0; i < tensor.strings->size(); ++i) {
        text << " '" << (*tensor.strings)[i] << "'";
      }
    } else if (tensor.dtype == DType::kFloat32) {
      for (size_t i = 0; i < tensor.byte_length / 4; ++i) {
        float element = 0;
        std::memcpy(&element, static_cast<const char*>(tensor.data) + i * 4, 4);
        text << " " << element;
      }
    } else if (tensor.dtype == DType::kInt64) {
      for (size_t i = 0; i < tensor.byte_length / 8; ++i) {
        text << " " << static_cast<const int64_t*>(tensor.data)[i];
      }
    } else {
      static constexpr char kDigits[] = "0123456789abcdef";
      for (size_t i = 0; i < tensor.byte_length; ++i) {
        const auto byte = static_cast<const unsigned char*>(tensor.data)[i];
        text << " " << kDigits[byte >> 4] << kDigits[byte & 15];
      }
    }
    return text.str();
  }
  if (value.kind == Value::Kind::kEngineTensor) {
    auto host = value.engine_tensor->ToHost();
    return "engine " + (host.ok() ? Show(Value::Of(*host)) : host.status().message());
  }
  const bool is_map = value.kind == Value::Kind::kMap;
  text << (is_map ? "{" : "(");
  for (size_t i = 0; i < value.items.size(); ++i) {
    text << (i > 0 ? "; " : "") << Show(value.items[i]);
  }
  text << (is_map ? "}" : ")");
  return text.str();
}

// Feeds the first inputs in order; asks for the outputs given.
inline RunRequest Request(std::vector<Value> feeds, std::vector<size_t> outputs = {0}) {
  RunRequest request;
  for (size_t i = 0; i < feeds.size(); ++i) request.inputs.push_back(i);
  request.feeds = std::move(feeds);
  request.outputs = std::move(outputs);
  return request;
}

inline std::vector<Value> RunModel(Session& session, std::vector<Value> feeds,
                                   std::vector<size_t> outputs = {0}) {
  auto result = session.Run(Request(std::move(feeds), std::move(outputs)));
  CHECK_OK(result);
  return std::move(*result);
}

inline OutputTarget ToHost() { return {}; }
inline OutputTarget ToEngine() {
  OutputTarget target;
  target.kind = OutputTarget::Kind::kEngine;
  return target;
}
inline OutputTarget Into(const Value& value) {
  OutputTarget target;
  target.kind = OutputTarget::Kind::kInto;
  target.into = value.tensor;
  return target;
}

// Feeds the first inputs in order; the outputs in order, one for each target.
inline RunRequest TargetedRequest(std::vector<Value> feeds, std::vector<OutputTarget> targets) {
  RunRequest request = Request(std::move(feeds), {});
  for (size_t i = 0; i < targets.size(); ++i) request.outputs.push_back(i);
  request.targets = std::move(targets);
  return request;
}

inline std::vector<Value> RunTargeted(Session& session, std::vector<Value> feeds,
                                      std::vector<OutputTarget> targets) {
  auto result = session.Run(TargetedRequest(std::move(feeds), std::move(targets)));
  CHECK_OK(result);
  return std::move(*result);
}

// The first output as text.
inline std::string RunShown(Session& session, std::vector<Value> feeds) {
  return Show(RunModel(session, std::move(feeds))[0]);
}

inline std::string CodeOf(const Status& status) {
  return std::string(StatusCodeName(status.code()));
}

}  // namespace tenon::onnxruntime
