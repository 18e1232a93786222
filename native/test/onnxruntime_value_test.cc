#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engines/onnxruntime/tensor.h"
#include "test/onnxruntime_models.h"
#include "test/onnxruntime_support.h"
#include "test/test.h"

namespace tenon::onnxruntime {
namespace {

using onnx::Graph;
using onnx::GraphAttribute;
using onnx::Initializer;
using onnx::MapType;
using onnx::Model;
using onnx::Node;
using onnx::OneNodeModel;
using onnx::OptionalType;
using onnx::SequenceType;
using onnx::TensorType;

constexpr int kFloat = 1;
constexpr int kInt64 = 7;
constexpr int kString = 8;
constexpr int kBool = 9;

std::string FloatVector() { return TensorType(kFloat, {"n"}); }

std::string RawFloats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// A dtype, its number in onnx.proto, the opset that has it, three elements.
struct TypeCase {
  DType dtype;
  int onnx;
  int opset;
  std::string_view bytes;
};

using namespace std::string_view_literals;
const TypeCase kTypes[] = {
    {DType::kFloat32, 1, 19, "\1\0\0\0\2\0\0\0\3\0\0\0"sv},
    {DType::kUInt8, 2, 19, "\1\2\xff"sv},
    {DType::kInt8, 3, 19, "\1\2\xff"sv},
    {DType::kUInt16, 4, 19, "\1\0\2\0\xff\xff"sv},
    {DType::kInt16, 5, 19, "\1\0\2\0\xff\xff"sv},
    {DType::kInt32, 6, 19, "\1\0\0\0\2\0\0\0\3\0\0\0"sv},
    {DType::kInt64, 7, 19, "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"sv},
    {DType::kBool, 9, 19, "\1\0\1"sv},
    {DType::kFloat16, 10, 19, "\1\0\2\0\3\0"sv},
    {DType::kFloat64, 11, 19, "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"sv},
    {DType::kUInt32, 12, 19, "\1\0\0\0\2\0\0\0\3\0\0\0"sv},
    {DType::kUInt64, 13, 19, "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"sv},
    {DType::kBFloat16, 16, 19, "\1\0\2\0\3\0"sv},
    {DType::kFloat8E4M3FN, 17, 19, "\1\2\3"sv},
    {DType::kFloat8E4M3FNUZ, 18, 19, "\1\2\3"sv},
    {DType::kFloat8E5M2, 19, 19, "\1\2\3"sv},
    {DType::kFloat8E5M2FNUZ, 20, 19, "\1\2\3"sv},
    {DType::kUInt4, 21, 21, "\x21\3"sv},
    {DType::kInt4, 22, 21, "\x21\3"sv},
    {DType::kFloat4E2M1, 23, 23, "\x21\3"sv},
    {DType::kFloat8E8M0, 24, 24, "\1\2\3"sv},
    {DType::kUInt2, 25, 25, "\x39"sv},
    {DType::kInt2, 26, 25, "\x39"sv},
};

void CheckExclusive(const Value& value) {
  if (value.kind == Value::Kind::kTensor) CHECK(value.tensor.exclusive);
  for (const Value& item : value.items) CheckExclusive(item);
}

void Overwrite(const Value& value) {
  if (value.kind == Value::Kind::kTensor && value.tensor.data != nullptr) {
    std::memset(value.tensor.data, 0x7f, value.tensor.byte_length);
  }
  for (const Value& item : value.items) Overwrite(item);
}

// Runs four times, the last ones with shapes that the first bore out, and writes
// over all of a run's outputs before the next: what is exclusive can be written to without a trace
// in feeds, in other outputs or in the model.
void CheckOwned(const std::string& model, const std::vector<Value>& feeds,
                const std::vector<size_t>& outputs, const std::vector<std::string>& expected) {
  const auto session = LoadModel(model);
  std::vector<std::string> fed;
  for (const Value& feed : feeds) fed.push_back(Show(feed));
  for (int round = 0; round < 4; ++round) {
    const std::vector<Value> values = RunModel(*session, feeds, outputs);
    REQUIRE(values.size() == expected.size());
    for (size_t i = 0; i < values.size(); ++i) {
      CHECK_EQ(Show(values[i]), expected[i]);
      CheckExclusive(values[i]);
      Overwrite(values[i]);
    }
    for (size_t i = 0; i < feeds.size(); ++i) CHECK_EQ(Show(feeds[i]), fed[i]);
  }
}

}  // namespace

// --- Element types ---

TEST("onnxruntime: every element type has one number in each direction") {
  for (int type = 1; type <= 26; ++type) {
    const DType dtype = FromElementType(type);
    CHECK(dtype != DType::kUndefined);
    CHECK_EQ(ToElementType(dtype), type);
  }
  CHECK(FromElementType(0) == DType::kUndefined);
  CHECK(FromElementType(27) == DType::kUndefined);
  CHECK(FromElementType(-1) == DType::kUndefined);
  CHECK_EQ(ToElementType(DType::kQInt8), 0);
}

TEST("onnxruntime: a tensor of every type passes in and out unchanged") {
  for (const TypeCase& type : kTypes) {
    Graph graph;
    graph.inputs = {{"x", TensorType(type.onnx, {"n"})}};
    graph.outputs = {{"x", TensorType(type.onnx, {"n"})}};
    const auto session = LoadModel(Model(graph, type.opset));
    CHECK_EQ(DTypeName(session->info().signatures[0].inputs[0].dtype), DTypeName(type.dtype));
    const Value x = BytesTensor(type.dtype, {3}, type.bytes);
    CHECK_EQ(RunShown(*session, {x}), Show(x));
    const Value empty = BytesTensor(type.dtype, {0}, "");
    CHECK_EQ(RunShown(*session, {empty}), Show(empty));
  }
}

TEST("onnxruntime: kernels read and write the small types as they are fed and shown") {
  for (const TypeCase& type : kTypes) {
    if (type.dtype < DType::kInt4 || type.dtype == DType::kFloat4E2M1) continue;  // no CPU kernel
    Graph graph;
    graph.inputs = {{"x", TensorType(type.onnx, {"n"})}};
    graph.outputs = {{"wide", FloatVector()}, {"y", TensorType(type.onnx, {"n"})}};
    graph.nodes = {Node("Cast", {"x"}, {"wide"}, {onnx::IntAttribute("to", kFloat)}),
                   Node("Cast", {"wide"}, {"y"}, {onnx::IntAttribute("to", type.onnx)})};
    const auto session = LoadModel(Model(graph, type.opset));
    // Full bytes: what fills up the last one is nobody's.
    const std::string_view bytes = DTypeBits(type.dtype) == 8 ? "\x38\x40\x41\x42"sv : "\x21\x13"sv;
    const auto count =
        static_cast<int64_t>(bytes.size() * 8 / static_cast<size_t>(DTypeBits(type.dtype)));
    const Value x = BytesTensor(type.dtype, {count}, bytes);
    CHECK_EQ(Show(RunModel(*session, {x}, {1})[0]), Show(x));
  }
}

TEST("onnxruntime: packed types hold their first element in the low bits") {
  const auto session = LoadModel(OneNodeModel("Cast", TensorType(22, {"n"}), FloatVector(), 21,
                                              {onnx::IntAttribute("to", kFloat)}));
  CHECK_EQ(RunShown(*session, {BytesTensor(DType::kInt4, {3}, "\x21\x0f"sv)}), "float32[3] 1 2 -1");
}

TEST("onnxruntime: a feed at an odd address is read right") {
  const auto session = LoadModel(OneNodeModel("Relu", FloatVector(), FloatVector()));
  const Value x = AtOddAddress({1, 2});
  CHECK_EQ(RunShown(*session, {x}), "float32[2] 1 2");
}

TEST("onnxruntime: rank 0 and tensors without elements pass through kernels") {
  const auto session = LoadModel(OneNodeModel("Relu", onnx::TensorTypeOfUnknownRank(kFloat),
                                              onnx::TensorTypeOfUnknownRank(kFloat)));
  CHECK_EQ(RunShown(*session, {Floats({5}, {})}), "float32[] 5");
  CHECK_EQ(RunShown(*session, {Floats({}, {2, 0, 3})}), "float32[2,0,3]");
  Tensor without_memory;
  without_memory.dtype = DType::kFloat32;
  without_memory.shape = {0};
  CHECK_EQ(RunShown(*session, {Value::Of(without_memory)}), "float32[0]");
}

TEST("onnxruntime: strings keep any bytes, NUL included") {
  const auto session =
      LoadModel(OneNodeModel("Identity", TensorType(kString, {"n"}), TensorType(kString, {"n"})));
  const Value x =
      Strings({"a\0b"sv, ""sv, "\xff\xfe"sv, "a string too long to be held in place"sv});
  CHECK_EQ(RunShown(*session, {x}), Show(x));
  CHECK_EQ(RunShown(*session, {Strings({""sv})}), "string[1] ''");
  CHECK_EQ(RunShown(*session, {Strings({})}), "string[0]");
}

// --- Whose memory an output is ---

TEST("onnxruntime: an output that is an input has memory of its own") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"x", FloatVector()}, {"y", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"y"})};
  CheckOwned(Model(graph), {Floats({1, 2})}, {0, 1}, {"float32[2] 1 2", "float32[2] -1 -2"});
}

TEST("onnxruntime: a feed at an odd address that is an output has memory that stays") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"x", FloatVector()}};
  const auto session = LoadModel(Model(graph));
  const Value x = AtOddAddress({1, 2});
  std::atomic<uint64_t> copied = 0;
  RunRequest request = Request({x});
  request.copied_bytes = &copied;
  const auto outputs = session->Run(request);
  CHECK_OK(outputs);
  CHECK_EQ(Show(outputs.value()[0]), "float32[2] 1 2");
  CHECK_EQ(copied.load(), 16u);  // to an even address, and to memory of its own
}

TEST("onnxruntime: an output asked for twice has memory of its own each time") {
  const std::string model = OneNodeModel("Neg", FloatVector(), FloatVector());
  CheckOwned(model, {Floats({1})}, {0, 0, 0}, {"float32[1] -1", "float32[1] -1", "float32[1] -1"});
}

TEST("onnxruntime: two names of one value have memory of their own") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"a", FloatVector()}, {"b", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"a"}), Node("Identity", {"a"}, {"b"})};
  CheckOwned(Model(graph), {Floats({1})}, {0, 1}, {"float32[1] -1", "float32[1] -1"});
}

TEST("onnxruntime: an output that is a constant of the model can be written to") {
  Graph graph;
  graph.outputs = {{"c", TensorType(kFloat, {2})}, {"d", TensorType(kFloat, {2})}};
  graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({1.5f, 2.5f}))};
  graph.nodes = {Node("Identity", {"c"}, {"d"})};
  CheckOwned(Model(graph), {}, {0, 1}, {"float32[2] 1.5 2.5", "float32[2] 1.5 2.5"});
}

TEST("onnxruntime: a constant that comes out of a branch can be written to") {
  Graph then_graph;
  then_graph.outputs = {{"t", TensorType(kFloat, {2})}};
  then_graph.nodes = {Node("Identity", {"c"}, {"t"})};
  Graph else_graph;
  else_graph.outputs = {{"k", TensorType(kFloat, {2})}};
  else_graph.initializers = {Initializer("k", kFloat, {2}, RawFloats({7, 8}))};
  Graph graph;
  graph.inputs = {{"b", TensorType(kBool, {})}};
  graph.outputs = {{"y", TensorType(kFloat, {2})}};
  graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({1.5f, 2.5f}))};
  graph.nodes = {Node("If", {"b"}, {"y"},
                      {GraphAttribute("then_branch", then_graph.Bytes()),
                       GraphAttribute("else_branch", else_graph.Bytes())})};
  CheckOwned(Model(graph), {BytesTensor(DType::kBool, {}, "\1"sv)}, {0}, {"float32[2] 1.5 2.5"});
  CheckOwned(Model(graph), {BytesTensor(DType::kBool, {}, "\0"sv)}, {0}, {"float32[2] 7 8"});
}

TEST("onnxruntime: a sequence that passes feeds and constants on has memory of its own") {
  Graph graph;
  graph.inputs = {{"s", SequenceType(FloatVector())}, {"t", FloatVector()}};
  graph.outputs = {{"y", SequenceType(FloatVector())}, {"z", SequenceType(FloatVector())}};
  graph.initializers = {Initializer("c", kFloat, {1}, RawFloats({9}))};
  graph.nodes = {Node("SequenceInsert", {"s", "t"}, {"y"}),
                 Node("SequenceInsert", {"y", "c"}, {"z"})};
  CheckOwned(Model(graph), {Sequence({Floats({1, 2})}), Floats({3})}, {0, 1},
             {"(float32[2] 1 2; float32[1] 3)", "(float32[2] 1 2; float32[1] 3; float32[1] 9)"});
}

// --- Sequences ---

TEST("onnxruntime: a sequence passes in and out") {
  const std::string type = SequenceType(FloatVector());
  const auto session = LoadModel(OneNodeModel("Identity", type, type));
  const ValueSpec& spec = session->info().signatures[0].inputs[0];
  CHECK(spec.kind == ValueSpec::Kind::kSequence);
  REQUIRE(spec.element != nullptr);
  CHECK(spec.element->kind == ValueSpec::Kind::kTensor && spec.element->dtype == DType::kFloat32);
  const Value x = Sequence({Floats({1, 2}), Floats({3}), Floats({})});
  CHECK_EQ(RunShown(*session, {x}), Show(x));
}

TEST("onnxruntime: a sequence of strings passes in and out") {
  const std::string type = SequenceType(TensorType(kString, {"n"}));
  const auto session = LoadModel(OneNodeModel("Identity", type, type));
  const Value x = Sequence({Strings({"a"sv, "b\0c"sv}), Strings({})});
  CHECK_EQ(RunShown(*session, {x}), Show(x));
}

TEST("onnxruntime: a sequence without items passes in and out, of every type that has sequences") {
  for (const TypeCase& type : kTypes) {
    if (type.opset > 19 || DTypeBits(type.dtype) < 8 || type.onnx >= 16) continue;
    const std::string sequence = SequenceType(TensorType(type.onnx, {"n"}));
    const auto session = LoadModel(OneNodeModel("Identity", sequence, sequence));
    CHECK_EQ(RunShown(*session, {Sequence({})}), "()");
    const Value item = BytesTensor(type.dtype, {3}, type.bytes);
    CHECK_EQ(RunShown(*session, {Sequence({item})}), Show(Sequence({item})));
  }
  const std::string strings = SequenceType(TensorType(kString, {"n"}));
  const auto session = LoadModel(OneNodeModel("Identity", strings, strings));
  CHECK_EQ(RunShown(*session, {Sequence({})}), "()");
}

TEST("onnxruntime: a sequence without items grows in the model, which leaves it as it was") {
  Graph graph;
  graph.inputs = {{"s", SequenceType(FloatVector())}, {"t", FloatVector()}};
  graph.outputs = {{"y", SequenceType(FloatVector())}, {"n", TensorType(kInt64, {})}};
  graph.nodes = {Node("SequenceInsert", {"s", "t"}, {"y"}), Node("SequenceLength", {"s"}, {"n"})};
  const auto session = LoadModel(Model(graph));
  for (int round = 0; round < 3; ++round) {
    const auto outputs = RunModel(*session, {Sequence({}), Floats({1, 2})}, {0, 1});
    CHECK_EQ(Show(outputs[0]), "(float32[2] 1 2)");
    CHECK_EQ(Show(outputs[1]), "int64[] 0");
  }
}

TEST("onnxruntime: sequences without items are fed on several threads at once") {
  const std::string type = SequenceType(TensorType(11, {"n"}));
  const auto session = LoadModel(OneNodeModel("SequenceLength", type, TensorType(kInt64, {})));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const auto result = session->Run(Request({Sequence({})}));
        if (!result.ok() || Show(result.value()[0]) != "int64[] 0") ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("onnxruntime: an optional sequence can be fed without items") {
  const std::string sequence = SequenceType(FloatVector());
  const auto session =
      LoadModel(OneNodeModel("OptionalGetElement", OptionalType(sequence), sequence));
  CHECK_EQ(RunShown(*session, {Sequence({})}), "()");
}

TEST("onnxruntime: a sequence of maps without items cannot be fed") {
  const std::string type = SequenceType(MapType(kInt64, TensorType(kFloat, {})));
  const auto session = TryLoad(OneNodeModel("Identity", type, type));
  if (!session.ok()) return;  // the engine may refuse the model already
  CHECK_EQ(CodeOf(session.value()->Run(Request({Sequence({})})).status()), "ERR_TENON_UNSUPPORTED");
}

// --- Maps ---

TEST("onnxruntime: a sequence of maps comes out with keys and values") {
  const auto map = [](int key) { return SequenceType(MapType(key, TensorType(kFloat, {}))); };
  Graph graph;
  graph.inputs = {{"x", TensorType(kFloat, {"n", 2})}};
  graph.outputs = {{"y", map(kInt64)}, {"z", map(kString)}};
  graph.nodes = {Node("ZipMap", {"x"}, {"y"}, {onnx::IntsAttribute("classlabels_int64s", {10, 20})},
                      "ai.onnx.ml"),
                 Node("ZipMap", {"x"}, {"z"},
                      {onnx::StringsAttribute("classlabels_strings", {"a", "b"})}, "ai.onnx.ml")};
  const auto session = LoadModel(Model(graph));
  const ValueSpec& spec = session->info().signatures[0].outputs[1];
  REQUIRE(spec.element != nullptr && spec.element->element != nullptr);
  CHECK(spec.element->kind == ValueSpec::Kind::kMap && spec.element->dtype == DType::kString);
  CHECK(spec.element->element->dtype == DType::kFloat32);
  const std::vector<Value> outputs = RunModel(*session, {Floats({1, 2, 3, 4}, {2, 2})}, {0, 1});
  CHECK_EQ(Show(outputs[0]),
           "({int64[2] 10 20; float32[2] 1 2}; {int64[2] 10 20; float32[2] 3 4})");
  CHECK_EQ(Show(outputs[1]),
           "({string[2] 'a' 'b'; float32[2] 1 2}; {string[2] 'a' 'b'; float32[2] 3 4})");
  CHECK_EQ(Show(RunModel(*session, {Floats({}, {0, 2})})[0]), "()");
}

TEST("onnxruntime: a map can be fed, an empty one too") {
  Graph graph;
  graph.inputs = {{"x", MapType(kInt64, TensorType(kFloat, {}))}};
  graph.outputs = {{"y", TensorType(kFloat, {1, "n"})}};
  graph.nodes = {Node("CastMap", {"x"}, {"y"}, {}, "ai.onnx.ml")};
  const auto session = LoadModel(Model(graph));
  CHECK_EQ(RunShown(*session, {Map(Int64s({2, 1}), Floats({5, 4}))}), "float32[1,2] 4 5");
  CHECK_EQ(RunShown(*session, {Map(Int64s({}), Floats({}))}), "float32[1,0]");
}

// --- Optionals ---

TEST("onnxruntime: an optional can be fed with a value and without") {
  const std::string type = OptionalType(FloatVector());
  const auto session = LoadModel(OneNodeModel("Identity", type, type));
  CHECK(session->info().signatures[0].inputs[0].kind == ValueSpec::Kind::kOptional);
  CHECK_EQ(RunShown(*session, {Floats({1, 2})}), "float32[2] 1 2");
  CHECK_EQ(RunShown(*session, {Value{}}), "none");

  const auto has = LoadModel(OneNodeModel("OptionalHasElement", type, TensorType(kBool, {})));
  CHECK_EQ(RunShown(*has, {Floats({1})}), "bool[] 01");
  CHECK_EQ(RunShown(*has, {Value{}}), "bool[] 00");

  const auto get = LoadModel(OneNodeModel("OptionalGetElement", type, FloatVector()));
  CHECK_EQ(RunShown(*get, {Floats({1})}), "float32[1] 1");
  CHECK_EQ(CodeOf(get->Run(Request({Value{}})).status()), "ERR_TENON_RUN");
}

TEST("onnxruntime: an optional may hold a sequence") {
  const std::string sequence = SequenceType(FloatVector());
  const auto session =
      LoadModel(OneNodeModel("OptionalGetElement", OptionalType(sequence), sequence));
  CHECK_EQ(RunShown(*session, {Sequence({Floats({1, 2})})}), "(float32[2] 1 2)");
}

TEST("onnxruntime: an absent optional comes out as none") {
  Graph graph;
  graph.outputs = {{"y", OptionalType(FloatVector())}};
  graph.nodes = {Node("Optional", {}, {"y"}, {onnx::TypeAttribute("type", FloatVector())})};
  CHECK_EQ(RunShown(*LoadModel(Model(graph)), {}), "none");
}

// --- What has no way in or out ---

TEST("onnxruntime: a sparse input is declared and refused") {
  Graph graph;
  graph.inputs = {{"x", onnx::SparseType(kFloat, {2, 2})}};
  graph.outputs = {{"x", onnx::SparseType(kFloat, {2, 2})}};
  const auto session = LoadModel(Model(graph));
  CHECK(session->info().signatures[0].inputs[0].kind == ValueSpec::Kind::kSparse);
  const auto result = session->Run(Request({Floats({1, 2, 3, 4}, {2, 2})}));
  CHECK_EQ(CodeOf(result.status()), "ERR_TENON_UNSUPPORTED");
}

TEST("onnxruntime: a type that the engine does not have makes the model invalid") {
  CHECK_EQ(
      CodeOf(TryLoad(OneNodeModel("Identity", TensorType(14, {}), TensorType(14, {}))).status()),
      "ERR_TENON_MODEL_INVALID");
}

}  // namespace tenon::onnxruntime
