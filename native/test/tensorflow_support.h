#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engines/tensorflow/engine.h"
#include "engines/tensorflow/library.h"
#include "engines/tensorflow/tensor.h"
#include "platform/aligned_memory.h"
#include "test/test.h"

// What the TensorFlow tests share: the engine, signatures of the fixtures, and
// graphs small enough to be written by hand.

namespace tenon::tensorflow::test {

// The process's TensorFlow. Fails the test where the library is not named.
inline std::shared_ptr<Engine> RealEngine() {
  const char* path = std::getenv("TENON_TENSORFLOW_LIBRARY");
  if (path == nullptr) {
    ::tenon::test::Fail(__FILE__, __LINE__,
                        "this test runs TensorFlow: set TENON_TENSORFLOW_LIBRARY to the path of "
                        "libtensorflow.so.2 or libtensorflow_cc.so.2");
    throw ::tenon::test::Stop{};
  }
  auto engine = Open(path);
  CHECK_OK(engine);
  return *engine;
}

inline std::string Fixture(const std::string& name) {
  return std::string(TENON_FIXTURES_DIR) + "/models/" + name;
}

// --- Reading protobuf, as far as signatures need it ---

struct Field {
  uint32_t number = 0;
  uint64_t varint = 0;
  std::string_view bytes;
};

inline std::vector<Field> Fields(std::string_view message) {
  const auto varint = [&message]() {
    uint64_t value = 0;
    for (int shift = 0; !message.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message.front());
      message.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  std::vector<Field> fields;
  while (!message.empty()) {
    const uint64_t tag = varint();
    Field& field = fields.emplace_back();
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0: field.varint = varint(); break;
      case 1:
      case 5:
        field.bytes = message.substr(0, (tag & 7) == 1 ? 8 : 4);
        message.remove_prefix(field.bytes.size());
        break;
      default: field.bytes = message.substr(0, varint()); message.remove_prefix(field.bytes.size());
    }
  }
  return fields;
}

inline Binding ReadTensorInfo(std::string_view key, std::string_view info) {
  Binding binding;
  binding.spec.name = key;
  for (const Field& field : Fields(info)) {
    if (field.number == 1) binding.tensor = field.bytes;
    if (field.number == 2) {
      binding.spec.dtype =
          DTypeFromTensorFlow(static_cast<int>(field.varint)).value_or(DType::kUndefined);
    }
    if (field.number != 3) continue;
    for (const Field& shape : Fields(field.bytes)) {
      if (shape.number == 3) binding.spec.unknown_rank = shape.varint != 0;
      if (shape.number != 2) continue;
      Dimension& dimension = binding.spec.shape.emplace_back();
      dimension.size = 0;
      for (const Field& dim : Fields(shape.bytes)) {
        if (dim.number == 1) dimension.size = static_cast<int64_t>(dim.varint);
      }
    }
  }
  return binding;
}

// Every callable signature of the first meta graph of a SavedModel.
inline ModelSource ReadSavedModel(const std::string& folder, std::vector<std::string> tags) {
  ModelSource source;
  source.saved_model = folder;
  source.tags = std::move(tags);
  std::ifstream stream(folder + "/saved_model.pb", std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(stream), {});
  for (const Field& meta_graph : Fields(file)) {
    if (meta_graph.number != 2) continue;
    for (const Field& entry : Fields(meta_graph.bytes)) {
      if (entry.number != 5) continue;
      SignatureBinding signature;
      for (const Field& part : Fields(entry.bytes)) {
        if (part.number == 1) signature.name = part.bytes;
        if (part.number != 2) continue;
        for (const Field& side : Fields(part.bytes)) {
          if (side.number != 1 && side.number != 2) continue;
          std::string_view key, info;
          for (const Field& pair : Fields(side.bytes)) {
            (pair.number == 1 ? key : info) = pair.bytes;
          }
          (side.number == 1 ? signature.inputs : signature.outputs)
              .push_back(ReadTensorInfo(key, info));
        }
      }
      if (!signature.name.starts_with("__")) source.signatures.push_back(std::move(signature));
    }
    break;
  }
  return source;
}

// --- Writing graphs ---

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}
inline std::string NumberField(uint32_t number, int64_t value) {
  return Varint(number << 3) + Varint(static_cast<uint64_t>(value));
}
inline std::string BytesField(uint32_t number, std::string_view bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

// AttrValue messages.
inline std::string TypeAttr(int dtype) { return NumberField(6, dtype); }
inline std::string IntAttr(int64_t value) { return NumberField(3, value); }
inline std::string StringAttr(std::string_view value) { return BytesField(2, value); }
inline std::string ShapeProto(const Shape& shape) {
  std::string proto;
  for (const int64_t size : shape) proto += BytesField(2, NumberField(1, size));
  return proto;
}
inline std::string ShapeAttr(const Shape& shape) { return BytesField(7, ShapeProto(shape)); }
template <typename T>
std::string TensorAttr(int dtype, const Shape& shape, const std::vector<T>& values) {
  const std::string_view content(reinterpret_cast<const char*>(values.data()),
                                 values.size() * sizeof(T));
  return BytesField(
      8, NumberField(1, dtype) + BytesField(2, ShapeProto(shape)) + BytesField(4, content));
}

// A frozen graph in a temporary file, removed at the end.
class Graph {
 public:
  Graph() {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("tenon_graph_" + std::to_string(reinterpret_cast<uintptr_t>(this)) + "_" +
              std::to_string(++count) + ".pb"))
                .string();
  }
  ~Graph() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Graph& Add(const std::string& name, const std::string& op, const std::vector<std::string>& inputs,
             const std::map<std::string, std::string>& attrs) {
    std::string node = BytesField(1, name) + BytesField(2, op);
    for (const std::string& input : inputs) node += BytesField(3, input);
    for (const auto& [key, value] : attrs) {
      node += BytesField(5, BytesField(1, key) + BytesField(2, value));
    }
    bytes_ += BytesField(1, node);
    return *this;
  }
  Graph& Placeholder(const std::string& name, int dtype) {
    return Add(name, "Placeholder", {}, {{"dtype", TypeAttr(dtype)}});
  }
  Graph& Identity(const std::string& name, const std::vector<std::string>& inputs, int dtype) {
    return Add(name, "Identity", inputs, {{"T", TypeAttr(dtype)}});
  }
  template <typename T>
  Graph& Const(const std::string& name, int dtype, const Shape& shape,
               const std::vector<T>& values) {
    return Add(name, "Const", {},
               {{"dtype", TypeAttr(dtype)}, {"value", TensorAttr(dtype, shape, values)}});
  }

  // Signatures by name; each input and output is named after its tensor.
  Graph& Call(const std::string& name, const std::vector<std::string>& inputs,
              const std::vector<std::string>& outputs) {
    SignatureBinding& signature = source_.signatures.emplace_back();
    signature.name = name;
    for (const std::string& tensor : inputs) {
      signature.inputs.emplace_back().tensor = tensor;
      signature.inputs.back().spec.name = tensor;
    }
    for (const std::string& tensor : outputs) {
      signature.outputs.emplace_back().tensor = tensor;
      signature.outputs.back().spec.name = tensor;
    }
    return *this;
  }

  // Writes the file. Signatures may be changed before it is loaded.
  ModelSource& Source() {
    const std::string versions = BytesField(4, NumberField(1, 1000));
    std::ofstream(path_, std::ios::binary) << bytes_ << versions;
    source_.frozen_graph = path_;
    return source_;
  }
  std::shared_ptr<Session> Load() {
    auto session = CreateSession(RealEngine(), Source(), {});
    CHECK_OK(session);
    return *session;
  }

 private:
  std::string path_;
  std::string bytes_;
  ModelSource source_;
};

// --- Values ---

template <typename T>
Value FeedOf(DType dtype, const Shape& shape, const std::vector<T>& values) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.byte_length = values.size() * sizeof(T);
  tensor.owner = AllocateAligned(tensor.byte_length);
  tensor.data = tensor.owner.get();
  if (!values.empty()) std::memcpy(tensor.data, values.data(), tensor.byte_length);
  return Value::Of(std::move(tensor));
}

inline Value StringFeed(const Shape& shape, const std::vector<std::string>& values) {
  auto table = std::make_shared<StringTable>();
  for (const std::string& value : values) table->Append(value);
  Tensor tensor;
  tensor.dtype = DType::kString;
  tensor.shape = shape;
  tensor.strings = std::move(table);
  return Value::Of(std::move(tensor));
}

template <typename T>
std::vector<T> Elements(const Value& value) {
  std::vector<T> elements(value.tensor.byte_length / sizeof(T));
  if (!elements.empty()) {
    std::memcpy(elements.data(), value.tensor.data, elements.size() * sizeof(T));
  }
  return elements;
}

inline std::vector<std::string> Strings(const Value& value) {
  std::vector<std::string> strings;
  for (size_t i = 0; i < value.tensor.strings->size(); ++i) {
    strings.emplace_back((*value.tensor.strings)[i]);
  }
  return strings;
}

inline size_t SignatureIndex(const Session& session, const std::string& name) {
  const auto& signatures = session.info().signatures;
  for (size_t i = 0; i < signatures.size(); ++i) {
    if (signatures[i].name == name) return i;
  }
  ::tenon::test::Fail(__FILE__, __LINE__, "the model has no signature " + name);
  throw ::tenon::test::Stop{};
}

// Feeds the inputs of a signature in order, and fetches all its outputs.
inline Result<std::vector<Value>> TryRun(Session& session, size_t signature,
                                         std::vector<Value> feeds) {
  RunRequest request;
  request.signature = signature;
  for (size_t i = 0; i < feeds.size(); ++i) request.inputs.push_back(i);
  request.feeds = std::move(feeds);
  for (size_t i = 0; i < session.info().signatures[signature].outputs.size(); ++i) {
    request.outputs.push_back(i);
  }
  return session.Run(request);
}

inline std::vector<Value> Run(Session& session, size_t signature, std::vector<Value> feeds) {
  auto outputs = TryRun(session, signature, std::move(feeds));
  CHECK_OK(outputs);
  return std::move(*outputs);
}

}  // namespace tenon::tensorflow::test
