#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Small ONNX models written field by field in the protobuf wire format, so that
// a test states the model it needs. Field numbers are those of onnx.proto.

namespace tenon::onnx {

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

inline std::string Field(int number, uint64_t value) {
  return Varint(static_cast<uint64_t>(number) << 3) + Varint(value);
}

inline std::string Field(int number, std::string_view bytes) {
  return Varint(static_cast<uint64_t>(number) << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}

// --- TypeProto ---

// A dimension: a size, a symbol, or (an empty symbol) nothing.
struct Dim {
  Dim(int size) : size(size) {}                          // NOLINT: implicit by design
  Dim(const char* symbol) : size(-1), symbol(symbol) {}  // NOLINT: implicit by design
  int64_t size;
  std::string symbol;
};

inline std::string ShapeOf(const std::vector<Dim>& dims) {
  std::string shape;
  for (const Dim& dim : dims) {
    std::string one;
    if (dim.size >= 0) {
      one = Field(1, static_cast<uint64_t>(dim.size));
    } else if (!dim.symbol.empty()) {
      one = Field(2, dim.symbol);
    }
    shape += Field(1, one);
  }
  return shape;
}

inline std::string TensorType(int element, const std::vector<Dim>& dims) {
  return Field(1, Field(1, static_cast<uint64_t>(element)) + Field(2, ShapeOf(dims)));
}
inline std::string TensorTypeOfUnknownRank(int element) {
  return Field(1, Field(1, static_cast<uint64_t>(element)));
}
inline std::string SequenceType(const std::string& item) { return Field(4, Field(1, item)); }
inline std::string MapType(int key, const std::string& value) {
  return Field(5, Field(1, static_cast<uint64_t>(key)) + Field(2, value));
}
inline std::string SparseType(int element, const std::vector<Dim>& dims) {
  return Field(8, Field(1, static_cast<uint64_t>(element)) + Field(2, ShapeOf(dims)));
}
inline std::string OptionalType(const std::string& item) { return Field(9, Field(1, item)); }

// --- AttributeProto ---

inline std::string IntAttribute(std::string_view name, int64_t value) {
  return Field(1, name) + Field(3, static_cast<uint64_t>(value)) + Field(20, 2);
}
inline std::string TensorAttribute(std::string_view name, const std::string& tensor) {
  return Field(1, name) + Field(5, tensor) + Field(20, 4);
}
inline std::string GraphAttribute(std::string_view name, const std::string& graph) {
  return Field(1, name) + Field(6, graph) + Field(20, 5);
}
inline std::string IntsAttribute(std::string_view name, const std::vector<int64_t>& values) {
  std::string bytes = Field(1, name);
  for (int64_t value : values) bytes += Field(8, static_cast<uint64_t>(value));
  return bytes + Field(20, 7);
}
inline std::string StringsAttribute(std::string_view name, const std::vector<std::string>& values) {
  std::string bytes = Field(1, name);
  for (const std::string& value : values) bytes += Field(9, value);
  return bytes + Field(20, 8);
}
inline std::string TypeAttribute(std::string_view name, const std::string& type) {
  return Field(1, name) + Field(14, type) + Field(20, 13);
}

// --- TensorProto, NodeProto, GraphProto, ModelProto ---

inline std::string Initializer(std::string_view name, int element, const std::vector<int64_t>& dims,
                               std::string_view raw) {
  std::string bytes;
  for (int64_t dim : dims) bytes += Field(1, static_cast<uint64_t>(dim));
  return bytes + Field(2, static_cast<uint64_t>(element)) + Field(8, name) + Field(9, raw);
}

// An initializer whose bytes lie in a file beside the model.
inline std::string ExternalInitializer(std::string_view name, int element,
                                       const std::vector<int64_t>& dims,
                                       std::string_view location) {
  std::string bytes;
  for (int64_t dim : dims) bytes += Field(1, static_cast<uint64_t>(dim));
  return bytes + Field(2, static_cast<uint64_t>(element)) + Field(8, name) +
         Field(13, Field(1, "location") + Field(2, location)) + Field(14, 1);
}

inline std::string Node(std::string_view type, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs,
                        const std::vector<std::string>& attributes = {},
                        std::string_view domain = "") {
  std::string bytes;
  for (const auto& input : inputs) bytes += Field(1, input);
  for (const auto& output : outputs) bytes += Field(2, output);
  bytes += Field(4, type);
  for (const auto& attribute : attributes) bytes += Field(5, attribute);
  return bytes + Field(7, domain);
}

struct NamedType {
  std::string name;
  std::string type;
};

struct Graph {
  std::vector<NamedType> inputs;
  std::vector<NamedType> outputs;
  std::vector<std::string> nodes;
  std::vector<std::string> initializers;
  std::string name = "graph";
  std::string description;

  std::string Bytes() const {
    std::string bytes;
    for (const auto& node : nodes) bytes += Field(1, node);
    bytes += Field(2, name);
    for (const auto& initializer : initializers) bytes += Field(5, initializer);
    bytes += Field(10, description);
    for (const auto& input : inputs)
      bytes += Field(11, Field(1, input.name) + Field(2, input.type));
    for (const auto& output : outputs) {
      bytes += Field(12, Field(1, output.name) + Field(2, output.type));
    }
    return bytes;
  }
};

// `more` holds further fields of ModelProto.
inline std::string Model(const Graph& graph, int opset = 19, const std::string& more = "") {
  const int ir = opset >= 25 ? 13 : opset >= 23 ? 11 : opset >= 21 ? 10 : 9;
  return Field(1, static_cast<uint64_t>(ir)) + Field(7, graph.Bytes()) +
         Field(8, Field(1, "") + Field(2, static_cast<uint64_t>(opset))) +
         Field(8, Field(1, "ai.onnx.ml") + Field(2, 3)) + more;
}

// One node "x" → "y".
inline std::string OneNodeModel(std::string_view op, const std::string& input_type,
                                const std::string& output_type, int opset = 19,
                                const std::vector<std::string>& attributes = {}) {
  Graph graph;
  graph.inputs = {{"x", input_type}};
  graph.outputs = {{"y", output_type}};
  graph.nodes = {Node(op, {"x"}, {"y"}, attributes)};
  return Model(graph, opset);
}

}  // namespace tenon::onnx
