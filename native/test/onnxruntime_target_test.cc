#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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
using namespace std::string_view_literals;

constexpr int kFloat = 1;
constexpr int kInt64 = 7;
constexpr int kString = 8;

std::string FloatVector() { return TensorType(kFloat, {"n"}); }

std::string RawFloats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string NegModel() { return OneNodeModel("Neg", FloatVector(), FloatVector()); }

// "x" is an input and an output, "y" its negative.
std::string HandsBackModel() {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"x", FloatVector()}, {"y", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"y"})};
  return Model(graph);
}

// "y" holds the elements of "x" above 0: as many as there are.
std::string PositivesModel() {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"y", TensorType(kFloat, {"m"})}};
  graph.initializers = {Initializer("zero", kFloat, {}, RawFloats({0}))};
  graph.nodes = {Node("Greater", {"x", "zero"}, {"b"}), Node("Compress", {"x", "b"}, {"y"})};
  return Model(graph);
}

class ForeignTensor : public EngineTensor {
 public:
  DType dtype() const override { return DType::kFloat32; }
  const Shape& shape() const override { return shape_; }
  size_t byte_length() const override { return 4; }
  const std::string& device() const override { return device_; }
  Result<Tensor> ToHost() const override { return Floats({1}).tensor; }

 private:
  const Shape shape_ = {1};
  const std::string device_ = "elsewhere";
};

}  // namespace

// --- Kept in the engine ---

TEST("onnxruntime: an output kept in the engine says what it is and can be fetched") {
  const auto session = LoadModel(NegModel());
  const Value y = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  REQUIRE(y.kind == Value::Kind::kEngineTensor);
  CHECK(y.engine_tensor->dtype() == DType::kFloat32);
  CHECK(y.engine_tensor->shape() == Shape{2});
  CHECK_EQ(y.engine_tensor->byte_length(), 8u);
  CHECK_EQ(y.engine_tensor->device(), "cpu");
  const auto host = y.engine_tensor->ToHost();
  CHECK_OK(host);
  CHECK(host.value().exclusive);
  CHECK_EQ(Show(Value::Of(host.value())), "float32[2] -1 -2");
}

TEST("onnxruntime: what is fetched from the engine can be written to without a trace there") {
  const auto session = LoadModel(NegModel());
  const Value y = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  const auto host = y.engine_tensor->ToHost();
  CHECK_OK(host);
  std::memset(host.value().data, 0x7f, host.value().byte_length);
  CHECK_EQ(Show(y), "engine float32[2] -1 -2");
}

TEST("onnxruntime: a tensor of the engine is fed without a copy, to any session and many runs") {
  const auto session = LoadModel(NegModel());
  const auto other = LoadModel(OneNodeModel("Abs", FloatVector(), FloatVector()));
  const Value y = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  std::atomic<uint64_t> copied = 0;
  for (int i = 0; i < 3; ++i) {
    RunRequest request = TargetedRequest({y}, {ToEngine()});
    request.copied_bytes = &copied;
    const auto outputs = other->Run(request);
    CHECK_OK(outputs);
    CHECK_EQ(Show(outputs.value()[0]), "engine float32[2] 1 2");
  }
  CHECK_EQ(copied.load(), 0u);
}

TEST("onnxruntime: a state goes round in the engine a thousand times") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}, {"h", FloatVector()}};
  graph.outputs = {{"h2", FloatVector()}};
  graph.nodes = {Node("Add", {"x", "h"}, {"h2"})};
  const auto session = LoadModel(Model(graph));
  const Value x = Floats({1, 2});
  Value h = Floats({0, 0});
  std::atomic<uint64_t> copied = 0;
  for (int i = 0; i < 1000; ++i) {
    RunRequest request = TargetedRequest({x, h}, {ToEngine()});
    request.copied_bytes = &copied;
    auto outputs = session->Run(request);
    CHECK_OK(outputs);
    h = std::move((*outputs)[0]);
  }
  CHECK_EQ(Show(h), "engine float32[2] 1000 2000");
  CHECK_EQ(copied.load(), 0u);
}

TEST("onnxruntime: a tensor of the engine outlives its session and the feeds it came of") {
  Value kept;
  {
    const auto session = LoadModel(HandsBackModel());
    kept = RunTargeted(*session, {Floats({1, 2})}, {ToHost(), ToEngine()})[1];
  }
  CHECK_EQ(Show(kept), "engine float32[2] -1 -2");
}

TEST("onnxruntime: an output that is its feed is copied when it is kept in the engine") {
  const auto session = LoadModel(HandsBackModel());
  const Value x = Floats({1, 2});
  std::atomic<uint64_t> copied = 0;
  RunRequest request = TargetedRequest({x}, {ToEngine(), ToEngine()});
  request.copied_bytes = &copied;
  const auto outputs = session->Run(request);
  CHECK_OK(outputs);
  std::memset(x.tensor.data, 0x7f, x.tensor.byte_length);
  CHECK_EQ(Show(outputs.value()[0]), "engine float32[2] 1 2");
  CHECK_EQ(Show(outputs.value()[1]), "engine float32[2] -1 -2");
  CHECK_EQ(copied.load(), 8u);

  const Value odd = RunTargeted(*session, {AtOddAddress({3})}, {ToEngine()})[0];
  CHECK_EQ(Show(odd), "engine float32[1] 3");
}

TEST("onnxruntime: a tensor of the engine that is handed back is shared in the engine") {
  const auto session = LoadModel(HandsBackModel());
  Value kept = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  std::atomic<uint64_t> copied = 0;
  RunRequest request = TargetedRequest({kept}, {ToEngine()});
  request.copied_bytes = &copied;
  const auto again = session->Run(request);
  CHECK_OK(again);
  CHECK_EQ(copied.load(), 0u);
  request = {};
  kept = {};
  CHECK_EQ(Show(again.value()[0]), "engine float32[2] 1 2");
}

TEST("onnxruntime: a tensor of the engine that is handed back to the host is copied there") {
  const auto session = LoadModel(HandsBackModel());
  const Value kept = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  const auto outputs = RunModel(*session, {kept}, {0, 1});
  CHECK(outputs[0].tensor.exclusive);
  std::memset(outputs[0].tensor.data, 0x7f, outputs[0].tensor.byte_length);
  CHECK_EQ(Show(kept), "engine float32[2] 1 2");
}

TEST("onnxruntime: a constant that is kept in the engine outlives its session") {
  Graph graph;
  graph.outputs = {{"c", TensorType(kFloat, {2})}, {"d", TensorType(kFloat, {2})}};
  graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({1.5f, 2.5f}))};
  graph.nodes = {Node("Identity", {"c"}, {"d"})};
  std::vector<Value> kept;
  {
    const auto session = LoadModel(Model(graph));
    kept = RunTargeted(*session, {}, {ToEngine(), ToEngine()});
  }
  CHECK_EQ(Show(kept[0]), "engine float32[2] 1.5 2.5");
  CHECK_EQ(Show(kept[1]), "engine float32[2] 1.5 2.5");
}

TEST("onnxruntime: strings can be kept in the engine") {
  const auto strings = TensorType(kString, {"n"});
  const auto session = LoadModel(OneNodeModel("Identity", strings, strings));
  const Value kept = RunTargeted(*session, {Strings({"a\0b"sv, ""sv})}, {ToEngine()})[0];
  CHECK(kept.engine_tensor->dtype() == DType::kString);
  CHECK_EQ(Show(kept), "engine " + Show(Strings({"a\0b"sv, ""sv})));
  CHECK_EQ(RunShown(*session, {kept}), Show(Strings({"a\0b"sv, ""sv})));
}

TEST("onnxruntime: a scalar and a tensor without elements can be kept in the engine") {
  const auto session = LoadModel(OneNodeModel("Neg", onnx::TensorTypeOfUnknownRank(kFloat),
                                              onnx::TensorTypeOfUnknownRank(kFloat)));
  const Value scalar = RunTargeted(*session, {Floats({5}, {})}, {ToEngine()})[0];
  CHECK_EQ(Show(scalar), "engine float32[] -5");
  const Value empty = RunTargeted(*session, {Floats({}, {2, 0})}, {ToEngine()})[0];
  CHECK_EQ(Show(empty), "engine float32[2,0]");
  CHECK_EQ(RunShown(*session, {empty}), "float32[2,0]");
}

TEST("onnxruntime: a tensor of the engine goes into sequences and optionals") {
  const auto neg = LoadModel(NegModel());
  const Value kept = RunTargeted(*neg, {Floats({1, 2})}, {ToEngine()})[0];
  const std::string sequence = SequenceType(FloatVector());
  const auto identity = LoadModel(OneNodeModel("Identity", sequence, sequence));
  const auto outputs = RunModel(*identity, {Sequence({kept, Floats({3}), kept})});
  CHECK_EQ(Show(outputs[0]), "(float32[2] -1 -2; float32[1] 3; float32[2] -1 -2)");
  for (const Value& item : outputs[0].items) {
    std::memset(item.tensor.data, 0x7f, item.tensor.byte_length);
  }
  CHECK_EQ(Show(kept), "engine float32[2] -1 -2");

  const auto get =
      LoadModel(OneNodeModel("OptionalGetElement", OptionalType(FloatVector()), FloatVector()));
  CHECK_EQ(RunShown(*get, {kept}), "float32[2] -1 -2");
}

TEST("onnxruntime: the values of a map cannot be a tensor of the engine") {
  Graph graph;
  graph.inputs = {{"x", MapType(kInt64, TensorType(kFloat, {}))}};
  graph.outputs = {{"y", TensorType(kFloat, {1, "n"})}};
  graph.nodes = {Node("CastMap", {"x"}, {"y"}, {}, "ai.onnx.ml")};
  const auto session = LoadModel(Model(graph));
  const Value kept = RunTargeted(*LoadModel(NegModel()), {Floats({1, 2})}, {ToEngine()})[0];
  CHECK_EQ(CodeOf(session->Run(Request({Map(Int64s({7}), kept)})).status()), "ERR_TENON_DTYPE");
}

TEST("onnxruntime: another engine's tensor is not taken") {
  Value foreign;
  foreign.kind = Value::Kind::kEngineTensor;
  foreign.engine_tensor = std::make_shared<ForeignTensor>();
  const auto session = LoadModel(NegModel());
  CHECK_EQ(CodeOf(session->Run(Request({foreign})).status()), "ERR_TENON_UNSUPPORTED");
  const std::string sequence = SequenceType(FloatVector());
  const auto identity = LoadModel(OneNodeModel("Identity", sequence, sequence));
  CHECK_EQ(CodeOf(identity->Run(Request({Sequence({foreign})})).status()), "ERR_TENON_UNSUPPORTED");
}

TEST("onnxruntime: a tensor of the engine of another dtype is refused") {
  const auto session =
      LoadModel(OneNodeModel("Neg", TensorType(kInt64, {"n"}), TensorType(kInt64, {"n"})));
  const Value kept = RunTargeted(*LoadModel(NegModel()), {Floats({1})}, {ToEngine()})[0];
  CHECK_EQ(CodeOf(session->Run(Request({kept})).status()), "ERR_TENON_DTYPE");
}

TEST("onnxruntime: a tensor of the engine is used by several threads at once") {
  const auto session = LoadModel(NegModel());
  const Value kept = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        auto outputs = session->Run(TargetedRequest({kept}, {ToEngine()}));
        if (!outputs.ok() || Show((*outputs)[0]) != "engine float32[2] 1 2") ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

// --- Into given memory ---

TEST("onnxruntime: an output goes into the tensor it is given and comes back as that") {
  const auto session = LoadModel(NegModel());
  const Value y = Floats({0, 0});
  const auto outputs = RunTargeted(*session, {Floats({1, 2})}, {Into(y)});
  CHECK_EQ(Show(y), "float32[2] -1 -2");
  CHECK(outputs[0].tensor.data == y.tensor.data);
  CHECK(outputs[0].tensor.owner == y.tensor.owner);
  CHECK(!outputs[0].tensor.exclusive);
}

TEST("onnxruntime: outputs go to given memory, the engine and the host in one run") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"a", FloatVector()}, {"b", FloatVector()}, {"c", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"a"}), Node("Abs", {"a"}, {"b"}),
                 Node("Identity", {"a"}, {"c"})};
  const auto session = LoadModel(Model(graph));
  const Value a = Floats({0, 0});
  std::atomic<uint64_t> copied = 0;
  RunRequest request = TargetedRequest({Floats({1, 2})}, {Into(a), ToEngine(), ToHost()});
  request.copied_bytes = &copied;
  const auto outputs = session->Run(request);
  CHECK_OK(outputs);
  CHECK_EQ(Show(a), "float32[2] -1 -2");
  CHECK_EQ(Show(outputs.value()[1]), "engine float32[2] 1 2");
  CHECK_EQ(Show(outputs.value()[2]), "float32[2] -1 -2");
  CHECK(outputs.value()[2].tensor.exclusive);
  CHECK_EQ(copied.load(), 0u);
}

TEST("onnxruntime: a given tensor of the wrong shape is found, named, and left as it was") {
  const auto session = LoadModel(NegModel());
  for (const Value& wrong :
       {Floats({7, 7, 7}), Floats({7}), Floats({7, 7}, {1, 2}), Floats({7}, {}), Floats({}, {0})}) {
    const std::string before = Show(wrong);
    const auto result = session->Run(TargetedRequest({Floats({1, 2})}, {Into(wrong)}));
    CHECK_EQ(CodeOf(result.status()), "ERR_TENON_SHAPE");
    CHECK_EQ(result.status().message(),
             (wrong.tensor.shape.size() == 1
                  ? "expected a tensor of shape [2] for output \"y\" to go into, received shape "
                  : "expected a tensor of shape [n] for output \"y\" to go into, received shape ") +
                 ShapeToString(wrong.tensor.shape));
    CHECK_EQ(Show(wrong), before);
  }
  CHECK_EQ(RunShown(*session, {Floats({1, 2})}), "float32[2] -1 -2");
}

TEST("onnxruntime: of several given tensors the one of the wrong shape is named") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"a", FloatVector()}, {"b", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"a"}), Node("Abs", {"x"}, {"b"})};
  const auto session = LoadModel(Model(graph));
  const auto result = session->Run(
      TargetedRequest({Floats({1, 2})}, {Into(Floats({0, 0})), Into(Floats({0, 0, 0}))}));
  CHECK_EQ(result.status().message(),
           "expected a tensor of shape [2] for output \"b\" to go into, received shape [3]");
}

TEST("onnxruntime: a shape that only the run tells is compared with the given tensor's") {
  const auto session = LoadModel(PositivesModel());
  const Value y = Floats({0, 0});
  RunTargeted(*session, {Floats({1, -1, 2})}, {Into(y)});
  CHECK_EQ(Show(y), "float32[2] 1 2");
  const auto result = session->Run(TargetedRequest({Floats({-1, -1, 2})}, {Into(y)}));
  CHECK_EQ(result.status().message(),
           "expected a tensor of shape [1] for output \"y\" to go into, received shape [2]");
}

TEST("onnxruntime: a run with given tensors that fails for another reason says that") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}, {"z", FloatVector()}};
  graph.outputs = {{"y", TensorType(kFloat, {"m"})}};
  graph.nodes = {Node("Add", {"x", "z"}, {"y"})};
  const auto session = LoadModel(Model(graph));
  const auto result =
      session->Run(TargetedRequest({Floats({1, 2}), Floats({1, 2, 3})}, {Into(Floats({0, 0}))}));
  CHECK_EQ(CodeOf(result.status()), "ERR_TENON_RUN");
}

TEST("onnxruntime: an output that is its feed is copied into the given tensor") {
  const auto session = LoadModel(HandsBackModel());
  const Value x = Floats({0, 0});
  std::atomic<uint64_t> copied = 0;
  RunRequest request = TargetedRequest({Floats({1, 2})}, {Into(x)});
  request.copied_bytes = &copied;
  CHECK_OK(session->Run(request));
  CHECK_EQ(Show(x), "float32[2] 1 2");
  CHECK_EQ(copied.load(), 8u);
  const auto wrong = session->Run(TargetedRequest({Floats({1, 2})}, {Into(Floats({0, 0, 0}))}));
  CHECK_EQ(wrong.status().message(),
           "expected a tensor of shape [2] for output \"x\" to go into, received shape [3]");
  // The very memory of the feed.
  RunTargeted(*session, {x}, {Into(x), ToHost()});
  CHECK_EQ(Show(x), "float32[2] 1 2");
}

TEST("onnxruntime: whatever makes an output, it goes into the given tensor") {
  Graph then_graph;
  then_graph.outputs = {{"t", TensorType(kFloat, {2})}};
  then_graph.nodes = {Node("Identity", {"x"}, {"t"})};
  Graph else_graph;
  else_graph.outputs = {{"k", TensorType(kFloat, {2})}};
  else_graph.initializers = {Initializer("k", kFloat, {2}, RawFloats({7, 8}))};
  const auto branch = GraphAttribute("then_branch", then_graph.Bytes());
  const auto other = GraphAttribute("else_branch", else_graph.Bytes());
  Graph body;
  body.inputs = {{"i", TensorType(kInt64, {})}, {"on", TensorType(9, {})}, {"v", FloatVector()}};
  body.outputs = {{"still_on", TensorType(9, {})}, {"w", FloatVector()}};
  body.nodes = {Node("Identity", {"on"}, {"still_on"}), Node("Neg", {"v"}, {"w"})};
  const auto loop = GraphAttribute("body", body.Bytes());

  struct Case {
    std::vector<std::string> nodes;
    std::string expected;
  };
  const Case cases[] = {
      {{Node("Identity", {"x"}, {"y"})}, "float32[2] 1 2"},
      {{Node("Reshape", {"x", "all"}, {"y"})}, "float32[2] 1 2"},
      {{Node("Dropout", {"x"}, {"y"})}, "float32[2] 1 2"},
      {{Node("Identity", {"c"}, {"y"})}, "float32[2] 3 4"},
      {{Node("Add", {"c", "c"}, {"y"})}, "float32[2] 6 8"},
      {{Node("ReduceMax", {"x"}, {"m"}, {onnx::IntAttribute("keepdims", 0)}),
        Node("Greater", {"m", "zero"}, {"b"}), Node("If", {"b"}, {"y"}, {branch, other})},
       "float32[2] 1 2"},
      {{Node("ReduceMax", {"x"}, {"m"}, {onnx::IntAttribute("keepdims", 0)}),
        Node("Less", {"m", "zero"}, {"b"}), Node("If", {"b"}, {"y"}, {branch, other})},
       "float32[2] 7 8"},
      {{Node("Loop", {"none", "", "x"}, {"y"}, {loop})}, "float32[2] 1 2"},
      {{Node("Loop", {"three", "", "x"}, {"y"}, {loop})}, "float32[2] -1 -2"},
      {{Node("SequenceConstruct", {"x"}, {"s"}), Node("SequenceAt", {"s", "none"}, {"y"})},
       "float32[2] 1 2"},
      {{Node("Optional", {"x"}, {"o"}), Node("OptionalGetElement", {"o"}, {"y"})},
       "float32[2] 1 2"},
  };
  const auto int64 = [](std::string_view name, int64_t value, const std::vector<int64_t>& dims) {
    return Initializer(name, kInt64, dims, {reinterpret_cast<const char*>(&value), sizeof(value)});
  };
  for (const Case& one : cases) {
    Graph graph;
    graph.inputs = {{"x", FloatVector()}};
    graph.outputs = {{"y", TensorType(kFloat, {2})}};
    graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({3, 4})),
                          Initializer("zero", kFloat, {}, RawFloats({0})), int64("all", -1, {1}),
                          int64("none", 0, {}), int64("three", 3, {})};
    graph.nodes = one.nodes;
    const auto session = LoadModel(Model(graph, 17));
    const Value y = Floats({-9, -9});
    RunTargeted(*session, {Floats({1, 2})}, {Into(y)});
    CHECK_EQ(Show(y), one.expected);
    const Value bound_y = Floats({-9, -9});
    auto bound = session->Bind(TargetedRequest({Floats({1, 2})}, {Into(bound_y)}));
    CHECK_OK(bound);
    for (int round = 0; round < 2; ++round) {
      std::memset(bound_y.tensor.data, 0x7f, bound_y.tensor.byte_length);
      CHECK_OK((*bound)->Run(nullptr));
      CHECK_EQ(Show(bound_y), one.expected);
    }
  }
}

TEST("onnxruntime: an initializer that may be overridden goes into the given tensor") {
  Graph graph;
  graph.inputs = {{"c", TensorType(kFloat, {2})}};
  graph.outputs = {{"c", TensorType(kFloat, {2})}};
  graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({3, 4}))};
  const auto session = LoadModel(Model(graph));
  const Value c = Floats({0, 0});
  RunTargeted(*session, {}, {Into(c)});
  CHECK_EQ(Show(c), "float32[2] 3 4");
  RunTargeted(*session, {Floats({5, 6})}, {Into(c)});
  CHECK_EQ(Show(c), "float32[2] 5 6");
}

TEST("onnxruntime: an output goes to an odd address and into no memory at all") {
  const auto session = LoadModel(NegModel());
  const Value odd = AtOddAddress({0, 0});
  std::atomic<uint64_t> copied = 0;
  RunRequest request = TargetedRequest({Floats({1, 2})}, {Into(odd)});
  request.copied_bytes = &copied;
  CHECK_OK(session->Run(request));
  CHECK_EQ(Show(odd), "float32[2] -1 -2");
  CHECK_EQ(copied.load(), 8u);

  Tensor nothing;
  nothing.dtype = DType::kFloat32;
  nothing.shape = {0};
  CHECK_EQ(Show(RunTargeted(*session, {Floats({})}, {Into(Value::Of(nothing))})[0]), "float32[0]");
}

TEST("onnxruntime: an output with a place of its own is asked for once") {
  const auto session = LoadModel(NegModel());
  RunRequest request = TargetedRequest({Floats({1})}, {Into(Floats({0})), ToHost()});
  request.outputs = {0, 0};
  CHECK_EQ(CodeOf(session->Run(request).status()), "ERR_TENON_INVALID_ARGUMENT");
}

TEST("onnxruntime: only a tensor of fixed size has a place given") {
  const auto strings = TensorType(kString, {"n"});
  const auto session = LoadModel(OneNodeModel("Identity", strings, strings));
  CHECK_EQ(CodeOf(session->Run(TargetedRequest({Strings({"a"})}, {Into(Strings({"b"}))})).status()),
           "ERR_TENON_UNSUPPORTED");
  const std::string sequence = SequenceType(FloatVector());
  const auto identity = LoadModel(OneNodeModel("Identity", sequence, sequence));
  CHECK_EQ(CodeOf(identity->Run(TargetedRequest({Sequence({})}, {ToEngine()})).status()),
           "ERR_TENON_UNSUPPORTED");
}

TEST("onnxruntime: bytes that strings come to are counted") {
  const auto strings = TensorType(kString, {"n"});
  const auto session = LoadModel(OneNodeModel("Identity", strings, strings));
  std::atomic<uint64_t> copied = 0;
  RunRequest request = Request({Strings({"abc", "de"})});
  request.copied_bytes = &copied;
  CHECK_OK(session->Run(request));
  CHECK_EQ(copied.load(), 10u);  // in and out
}

}  // namespace tenon::onnxruntime
