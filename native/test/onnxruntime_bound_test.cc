#include <atomic>
#include <chrono>
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
using onnx::Initializer;
using onnx::Model;
using onnx::Node;
using onnx::OneNodeModel;
using onnx::OptionalType;
using onnx::SequenceType;
using onnx::TensorType;

constexpr int kFloat = 1;
constexpr int kInt64 = 7;
constexpr int kString = 8;

std::string FloatVector() { return TensorType(kFloat, {"n"}); }

std::string NegModel() { return OneNodeModel("Neg", FloatVector(), FloatVector()); }

std::string RawFloats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

void Write(const Value& value, const std::vector<float>& values) {
  std::memcpy(value.tensor.data, values.data(), values.size() * sizeof(float));
}

std::unique_ptr<BoundRun> BindTo(Session& session, std::vector<Value> feeds,
                                 const std::vector<Value>& outputs) {
  std::vector<OutputTarget> targets;
  for (const Value& output : outputs) targets.push_back(Into(output));
  auto bound = session.Bind(TargetedRequest(std::move(feeds), std::move(targets)));
  CHECK_OK(bound);
  return std::move(*bound);
}

}  // namespace

TEST("onnxruntime: a bound run reads its feeds and writes its outputs in place each time") {
  const auto session = LoadModel(NegModel());
  const Value x = Floats({1, 2});
  const Value y = Floats({0, 0});
  const auto bound = BindTo(*session, {x}, {y});
  CHECK_EQ(Show(y), "float32[2] 0 0");
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] -1 -2");
  Write(x, {3, 4});
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] -3 -4");
}

TEST("onnxruntime: a bound run keeps its session and its memory") {
  auto session = LoadModel(NegModel());
  Value x = Floats({1, 2});
  const Value y = Floats({0, 0});
  const std::weak_ptr<void> x_memory = x.tensor.owner;
  const std::weak_ptr<Session> weak_session = session;
  auto bound = BindTo(*session, {std::move(x)}, {y});
  x = {};
  session.reset();
  CHECK(!x_memory.expired() && !weak_session.expired());
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] -1 -2");
  bound.reset();
  CHECK(x_memory.expired() && weak_session.expired());
}

TEST("onnxruntime: a bound run over several inputs and outputs asks for those in its order") {
  Graph graph;
  graph.inputs = {{"a", FloatVector()}, {"b", FloatVector()}};
  graph.outputs = {{"sum", FloatVector()}, {"product", FloatVector()}, {"rest", FloatVector()}};
  graph.nodes = {Node("Add", {"a", "b"}, {"sum"}), Node("Mul", {"a", "b"}, {"product"}),
                 Node("Sub", {"a", "b"}, {"rest"})};
  const auto session = LoadModel(Model(graph));
  const Value product = Floats({0});
  const Value sum = Floats({0});
  RunRequest request = TargetedRequest({Floats({2}), Floats({5})}, {Into(product), Into(sum)});
  request.inputs = {1, 0};
  request.outputs = {1, 0};
  const auto bound = session->Bind(request);
  CHECK_OK(bound);
  CHECK_OK(bound.value()->Run(nullptr));
  CHECK_EQ(Show(product), "float32[1] 10");
  CHECK_EQ(Show(sum), "float32[1] 7");
}

TEST("onnxruntime: a bound run feeds a tensor of the engine, kept as long as it lives") {
  const auto session = LoadModel(NegModel());
  Value kept = RunTargeted(*session, {Floats({1, 2})}, {ToEngine()})[0];
  const Value y = Floats({0, 0});
  const auto bound = BindTo(*session, {kept}, {y});
  kept = {};
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] 1 2");
}

TEST("onnxruntime: a bound run with a feed and an output at odd addresses") {
  const auto session = LoadModel(NegModel());
  const Value x = AtOddAddress({1, 2});
  const Value y = AtOddAddress({0, 0});
  const auto bound = BindTo(*session, {x}, {y});
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] -1 -2");
  Write(x, {3, 4});
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(y), "float32[2] -3 -4");
}

TEST("onnxruntime: a bound output that is its feed is copied each time") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"x", FloatVector()}, {"y", FloatVector()}};
  graph.nodes = {Node("Neg", {"x"}, {"y"})};
  const auto session = LoadModel(Model(graph));
  const Value x = Floats({1, 2});
  const Value out = Floats({0, 0});
  const Value y = Floats({0, 0});
  const auto bound = BindTo(*session, {x}, {out, y});
  for (float value : {1.0f, 5.0f}) {
    Write(x, {value, 2});
    CHECK_OK(bound->Run(nullptr));
    CHECK_EQ(Show(out), Show(x));
    CHECK_EQ(static_cast<const float*>(y.tensor.data)[0], -value);
  }

  const auto alone = BindTo(*session, {x}, {out});
  Write(x, {8, 9});
  CHECK_OK(alone->Run(nullptr));
  CHECK_EQ(Show(out), "float32[2] 8 9");

  Value kept = RunTargeted(*session, {x}, {ToEngine()})[0];
  const auto from_engine = BindTo(*session, {kept}, {out});
  kept = {};
  Write(out, {0, 0});
  CHECK_OK(from_engine->Run(nullptr));
  CHECK_EQ(Show(out), "float32[2] 8 9");

  const auto wrong = session->Bind(TargetedRequest({x}, {Into(Floats({0}))}));
  CHECK_EQ(wrong.status().message(),
           "expected a tensor of shape [2] for output \"x\" to go into, received shape [1]");
}

TEST("onnxruntime: strings are fed as they were when they were bound") {
  Graph graph;
  graph.inputs = {{"s", TensorType(kString, {"n"})}, {"x", FloatVector()}};
  graph.outputs = {{"n", TensorType(kInt64, {1})}, {"y", FloatVector()}};
  graph.nodes = {Node("Shape", {"s"}, {"n"}), Node("Neg", {"x"}, {"y"})};
  const auto session = LoadModel(Model(graph));
  const Value n = Int64s({0});
  const Value y = Floats({0});
  const auto bound = BindTo(*session, {Strings({"a", "b"}), Floats({1})}, {n, y});
  CHECK_OK(bound->Run(nullptr));
  CHECK_EQ(Show(n), "int64[1] 2");
  CHECK_EQ(Show(y), "float32[1] -1");
}

TEST("onnxruntime: sequences, empty ones too, and absent optionals are bound") {
  const auto sequence = SequenceType(FloatVector());
  const auto length = LoadModel(OneNodeModel("SequenceLength", sequence, TensorType(kInt64, {})));
  const auto scalar = [] { return BytesTensor(DType::kInt64, {}, std::string(8, '\x7f')); };
  for (size_t items : {0, 3}) {
    const Value y = scalar();
    const auto bound = BindTo(*length, {Sequence(std::vector<Value>(items, Floats({1, 2})))}, {y});
    CHECK_OK(bound->Run(nullptr));
    CHECK_EQ(Show(y), "int64[] " + std::to_string(items));
  }
  const auto has =
      LoadModel(OneNodeModel("OptionalHasElement", OptionalType(FloatVector()), TensorType(9, {})));
  const Value there = BytesTensor(DType::kBool, {}, "\x7f");
  CHECK_OK(BindTo(*has, {Value{}}, {there})->Run(nullptr));
  CHECK_EQ(Show(there), "bool[] 00");
  CHECK_OK(BindTo(*has, {Floats({1})}, {there})->Run(nullptr));
  CHECK_EQ(Show(there), "bool[] 01");
}

TEST("onnxruntime: a bound output whose shape the model denies is refused when it is bound") {
  const auto session =
      LoadModel(OneNodeModel("Neg", TensorType(kFloat, {"n", 3}), TensorType(kFloat, {"n", 3})));
  const Value x = Floats({1, 2, 3}, {1, 3});
  const auto two = session->Bind(TargetedRequest({x}, {Into(Floats({0, 0}, {1, 2}))}));
  CHECK_EQ(CodeOf(two.status()), "ERR_TENON_SHAPE");
  CHECK_EQ(two.status().message(),
           "expected a tensor of shape [n,3] for output \"y\" to go into, received shape [1,2]");
  CHECK_EQ(CodeOf(session->Bind(TargetedRequest({x}, {Into(Floats({0, 0, 0}))})).status()),
           "ERR_TENON_SHAPE");
}

TEST("onnxruntime: a bound run whose output has another shape fails, and runs on after that") {
  Graph graph;
  graph.inputs = {{"x", FloatVector()}};
  graph.outputs = {{"y", TensorType(kFloat, {"m"})}, {"z", FloatVector()}};
  graph.initializers = {Initializer("zero", kFloat, {}, RawFloats({0}))};
  graph.nodes = {Node("Greater", {"x", "zero"}, {"b"}), Node("Compress", {"x", "b"}, {"y"}),
                 Node("Neg", {"x"}, {"z"})};
  const auto session = LoadModel(Model(graph));
  const Value x = Floats({1, 2, 3});
  const Value y = Floats({0, 0});
  const Value z = Floats({0, 0, 0});
  const auto bound = BindTo(*session, {x}, {y, z});
  for (int round = 0; round < 3; ++round) {
    Write(x, {1, 2, 3});
    const Status status = bound->Run(nullptr);
    CHECK_EQ(CodeOf(status), "ERR_TENON_SHAPE");
    CHECK_EQ(status.message(),
             "expected a tensor of shape [3] for output \"y\" to go into, received shape [2]");
    Write(x, {-1, static_cast<float>(round + 1), 3});
    Write(y, {0, 0});
    CHECK_OK(bound->Run(nullptr));
    CHECK_EQ(Show(y), "float32[2] " + std::to_string(round + 1) + " 3");
    CHECK_EQ(Show(z), "float32[3] 1 -" + std::to_string(round + 1) + " -3");
  }
}

TEST("onnxruntime: what cannot be bound is refused") {
  const auto session = LoadModel(NegModel());
  const Value x = Floats({1});
  const Value y = Floats({0});
  const auto code = [&](const RunRequest& request) {
    return CodeOf(session->Bind(request).status());
  };
  CHECK_EQ(code(TargetedRequest({x}, {ToHost()})), "ERR_TENON_INTERNAL");
  CHECK_EQ(code(TargetedRequest({x}, {ToEngine()})), "ERR_TENON_INTERNAL");
  CHECK_EQ(code(Request({x})), "ERR_TENON_INTERNAL");
  CHECK_EQ(code(TargetedRequest({}, {Into(y)})), "ERR_TENON_MISSING_FEED");
  CHECK_EQ(code(TargetedRequest({Int64s({1})}, {Into(y)})), "ERR_TENON_DTYPE");
  CHECK_EQ(code(TargetedRequest({x}, {Into(Int64s({1}))})), "ERR_TENON_DTYPE");
  RunRequest twice = TargetedRequest({x}, {Into(y), Into(Floats({0}))});
  twice.outputs = {0, 0};
  CHECK_EQ(code(twice), "ERR_TENON_INVALID_ARGUMENT");
  Value borrowed = x;
  borrowed.tensor.owner = nullptr;
  CHECK_EQ(code(TargetedRequest({borrowed}, {Into(y)})), "ERR_TENON_INVALID_ARGUMENT");
  borrowed = y;
  borrowed.tensor.owner = nullptr;
  CHECK_EQ(code(TargetedRequest({x}, {Into(borrowed)})), "ERR_TENON_INVALID_ARGUMENT");
}

TEST("onnxruntime: a bound run of no outputs does nothing") {
  const auto session = LoadModel(NegModel());
  const auto bound = session->Bind(Request({Floats({1})}, {}));
  CHECK_OK(bound);
  CHECK_OK(bound.value()->Run(nullptr));
}

TEST("onnxruntime: bound runs of one session run on several threads at once") {
  const auto session = LoadModel(NegModel());
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const Value x = Floats({0, 0});
      const Value y = Floats({0, 0});
      const auto bound = BindTo(*session, {x}, {y});
      for (int i = 0; i < 500; ++i) {
        Write(x, {static_cast<float>(t), static_cast<float>(i)});
        if (!bound->Run(nullptr).ok() ||
            static_cast<const float*>(y.tensor.data)[1] != -static_cast<float>(i)) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("onnxruntime: a bound run is stopped by its token, and runs on with another") {
  auto loaded = TryLoadFile(Fixture("models/slow.onnx"));
  CHECK_OK(loaded);
  const auto scalar = [](int64_t value) {
    return BytesTensor(DType::kInt64, {}, {reinterpret_cast<const char*>(&value), sizeof(value)});
  };
  // A minute's work, were it not stopped.
  const Value steps = scalar(120000);
  const Value y = Floats({0}, {});
  const auto bound = BindTo(**loaded, {steps}, {y});
  CancelToken token;
  std::thread canceller([&token] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    token.Cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  const Status status = bound->Run(&token);
  canceller.join();
  CHECK_EQ(CodeOf(status), "ERR_TENON_ABORTED");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  CHECK_EQ(CodeOf(bound->Run(&token)), "ERR_TENON_ABORTED");

  const int64_t one = 1;
  std::memcpy(steps.tensor.data, &one, sizeof(one));
  CancelToken fresh;
  CHECK_OK(bound->Run(&fresh));
  CHECK_EQ(Show(y), "float32[] 1");
  CHECK_OK(bound->Run(nullptr));
}

}  // namespace tenon::onnxruntime
