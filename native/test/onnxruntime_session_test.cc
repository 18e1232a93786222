#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "test/onnxruntime_models.h"
#include "test/onnxruntime_support.h"
#include "test/test.h"

namespace tenon::onnxruntime {
namespace {

using onnx::Field;
using onnx::Graph;
using onnx::Initializer;
using onnx::Model;
using onnx::Node;
using onnx::OneNodeModel;
using onnx::TensorType;

constexpr int kFloat = 1;

std::string RawFloats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string ReluModel() {
  return OneNodeModel("Relu", TensorType(kFloat, {"n"}), TensorType(kFloat, {"n"}));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// y = x + c, where c is an initializer that may be overridden.
std::string AddModel(const std::string& more = "") {
  Graph graph;
  graph.name = "adder";
  graph.description = "adds";
  graph.inputs = {{"x", TensorType(kFloat, {"batch", 2, ""})}, {"c", TensorType(kFloat, {2})}};
  graph.outputs = {{"y", TensorType(kFloat, {"batch", 2, 2})}};
  graph.initializers = {Initializer("c", kFloat, {2}, RawFloats({1.5f, 2.5f}))};
  graph.nodes = {Node("Add", {"x", "c"}, {"y"})};
  return Model(graph, 19, more);
}

}  // namespace

// --- What a model declares ---

TEST("onnxruntime: shapes keep their sizes, symbols and unknown dimensions") {
  const auto session = LoadModel(AddModel());
  REQUIRE(session->info().signatures.size() == 1);
  const Signature& signature = session->info().signatures[0];
  CHECK_EQ(signature.name, "serving_default");
  REQUIRE(signature.inputs.size() == 2);
  const ValueSpec& x = signature.inputs[0];
  CHECK(x.kind == ValueSpec::Kind::kTensor && x.dtype == DType::kFloat32 && !x.optional);
  REQUIRE(x.shape.size() == 3);
  CHECK(x.shape[0].size == -1 && x.shape[0].name == "batch");
  CHECK(x.shape[1].size == 2 && x.shape[1].name.empty());
  CHECK(x.shape[2].size == -1 && x.shape[2].name.empty());
}

TEST("onnxruntime: an initializer that may be overridden is an optional input after the others") {
  const auto session = LoadModel(AddModel());
  const ValueSpec& c = session->info().signatures[0].inputs[1];
  CHECK_EQ(c.name, "c");
  CHECK(c.optional);
  const Value x = Floats({1, 1, 1, 1}, {1, 2, 2});
  CHECK_EQ(RunShown(*session, {x}), "float32[1,2,2] 2.5 3.5 2.5 3.5");
  CHECK_EQ(RunShown(*session, {x, Floats({10, 20})}), "float32[1,2,2] 11 21 11 21");
}

TEST("onnxruntime: an unknown rank is not a scalar") {
  const auto unknown = LoadModel(
      OneNodeModel("Relu", onnx::TensorTypeOfUnknownRank(kFloat), TensorType(kFloat, {"a", "b"})));
  CHECK(unknown->info().signatures[0].inputs[0].unknown_rank);
  CHECK(!unknown->info().signatures[0].outputs[0].unknown_rank);
  const auto scalar =
      LoadModel(OneNodeModel("Relu", TensorType(kFloat, {}), TensorType(kFloat, {})));
  CHECK(!scalar->info().signatures[0].inputs[0].unknown_rank);
  CHECK(scalar->info().signatures[0].inputs[0].shape.empty());
}

TEST("onnxruntime: metadata holds what the model says and nothing else") {
  const auto said =
      LoadModel(AddModel(Field(2, "maker") + Field(4, "org.example") + Field(5, 42) +
                         Field(6, "words") + Field(14, Field(1, "k") + Field(2, "v"))));
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"producer", "maker"},     {"version", "42"},        {"graphName", "adder"},
      {"domain", "org.example"}, {"description", "words"}, {"graphDescription", "adds"}};
  CHECK(said->info().metadata == expected);
  const std::vector<std::pair<std::string, std::string>> custom = {{"k", "v"}};
  CHECK(said->info().custom_metadata == custom);

  const auto silent = LoadModel(ReluModel());
  const std::vector<std::pair<std::string, std::string>> only_name = {{"graphName", "graph"}};
  CHECK(silent->info().metadata == only_name);
}

// --- Loading ---

TEST("onnxruntime: a model loads from a path and from bytes") {
  const std::string path = Fixture("models/simple_model.onnx");
  const auto from_path = TryLoadFile(path);
  CHECK_OK(from_path);
  const auto from_bytes = LoadModel(ReadFile(path));
  const Value x = Floats({1, 2, 3, 4}, {1, 4});
  CHECK_EQ(RunShown(**&from_path.value(), {x}), "float32[1,1] -1.23223");
  CHECK_EQ(RunShown(*from_bytes, {x}), "float32[1,1] -1.23223");
}

TEST("onnxruntime: external data beside the model is found") {
  CHECK_OK(TryLoadFile(Fixture("models/external_data/model.onnx")));
}

TEST("onnxruntime: bytes of an ORT model are kept while the session uses them in place") {
  const std::string model = ReadFile(Fixture("models/simple_model.ort"));
  const auto owner = AllocateAligned(model.size());
  std::memcpy(owner.get(), model.data(), model.size());
  ModelSource source;
  source.bytes_owner = owner;
  source.bytes = owner.get();
  source.byte_length = model.size();
  SessionOptions options;
  auto copied = CreateSession(TheEngine(), source, options, nullptr);
  CHECK_OK(copied);
  options.config_entries = {{"session.use_ort_model_bytes_directly", "1"},
                            {"session.use_ort_model_bytes_for_initializers", "1"}};
  auto in_place = CreateSession(TheEngine(), source, options, nullptr);
  CHECK_OK(in_place);
  source.bytes_owner.reset();
  CHECK_EQ(owner.use_count(), 2);
  const Value x = Floats({1, 2, 3, 4}, {1, 4});
  CHECK_EQ(RunShown(**copied, {x}), "float32[1,1] -1.23223");
  CHECK_EQ(RunShown(**in_place, {x}), "float32[1,1] -1.23223");
  *in_place = nullptr;
  CHECK_EQ(owner.use_count(), 1);
}

TEST("onnxruntime: a missing file is not found, a file it names makes it invalid") {
  const auto missing = TryLoadFile(Fixture("no_such_model.onnx"));
  CHECK_EQ(CodeOf(missing.status()), "ERR_TENON_MODEL_NOT_FOUND");
  CHECK_EQ(missing.status().engine_code(), 3);
  CHECK_EQ(CodeOf(TryLoadFile(Fixture("broken/missing_external.onnx")).status()),
           "ERR_TENON_MODEL_INVALID");
  CHECK_EQ(CodeOf(TryLoadFile(Fixture("models")).status()), "ERR_TENON_MODEL_INVALID");
}

TEST("onnxruntime: a broken model is invalid, in the engine's own words") {
  for (const char* name : {"cyclic.onnx",          "deep_nesting.onnx",
                           "empty.onnx",           "external_absolute.onnx",
                           "external_escape.onnx", "external_escape_far.onnx",
                           "future_ir.onnx",       "future_opset.onnx",
                           "huge_dims.onnx",       "missing_external.onnx",
                           "missing_input.onnx",   "negative_dims.onnx",
                           "short_weights.onnx",   "truncated.onnx",
                           "truncated.ort",        "damaged.ort",
                           "unknown_domain.onnx",  "unknown_op.onnx",
                           "wrong_magic.onnx",     "wrong_types.onnx"}) {
    const auto session = TryLoadFile(Fixture(std::string("broken/") + name));
    CHECK_EQ(std::string(name) + " " + CodeOf(session.status()),
             std::string(name) + " ERR_TENON_MODEL_INVALID");
    CHECK(!session.status().message().empty());
    CHECK(session.status().engine_code() != 0);
  }
}

TEST("onnxruntime: no bytes are no model") {
  CHECK_EQ(CodeOf(TryLoad("").status()), "ERR_TENON_MODEL_INVALID");
}

TEST("onnxruntime: a load with a token that was cancelled before does not begin") {
  CancelToken token;
  token.Cancel();
  const auto session = TryLoad(ReluModel(), {}, &token);
  CHECK_EQ(CodeOf(session.status()), "ERR_TENON_ABORTED");
  CHECK_EQ(session.status().engine_code(), 0);
}

TEST("onnxruntime: a load is stopped by its token") {
  // Enough nodes to keep the engine busy for much longer than the wait below.
  Graph graph;
  graph.inputs = {{"x0", TensorType(kFloat, {"n"})}};
  constexpr int kNodes = 20000;
  for (int i = 0; i < kNodes; ++i) {
    graph.nodes.push_back(Node("Neg", {"x" + std::to_string(i)}, {"x" + std::to_string(i + 1)}));
  }
  graph.outputs = {{"x" + std::to_string(kNodes), TensorType(kFloat, {"n"})}};
  const std::string model = Model(graph);
  TheEngine();  // so that opening it is not part of the wait
  CancelToken token;
  std::thread canceller([&token] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    token.Cancel();
  });
  const auto session = TryLoad(model, {}, &token);
  canceller.join();
  CHECK_EQ(CodeOf(session.status()), "ERR_TENON_ABORTED");
  CHECK_EQ(session.status().engine_code(), 12);
}

// --- Options ---

TEST("onnxruntime: thread counts below one are refused") {
  SessionOptions options;
  options.intra_op_threads = 0;
  CHECK_EQ(CodeOf(TryLoad(ReluModel(), options).status()), "ERR_TENON_INVALID_ARGUMENT");
  options = {};
  options.inter_op_threads = -1;
  CHECK_EQ(CodeOf(TryLoad(ReluModel(), options).status()), "ERR_TENON_INVALID_ARGUMENT");
}

TEST("onnxruntime: a session with several threads, spinning and parallel nodes runs") {
  SessionOptions options;
  options.intra_op_threads = 2;
  options.inter_op_threads = 2;
  options.spin = true;
  options.graph_optimization_level = 1;
  options.config_entries = {{"session.intra_op.allow_spinning", "0"}};
  const auto session = LoadModel(ReluModel(), options);
  CHECK_EQ(RunShown(*session, {Floats({-1, 2})}), "float32[2] 0 2");
}

TEST("onnxruntime: a free dimension takes the size it is given") {
  SessionOptions options;
  options.free_dimension_overrides = {{"n", 4}};
  const auto session = LoadModel(ReluModel(), options);
  CHECK_EQ(session->info().signatures[0].inputs[0].shape[0].size, 4);
  options.free_dimension_overrides = {{"n", -4}};
  CHECK_EQ(CodeOf(TryLoad(ReluModel(), options).status()), "ERR_TENON_INVALID_ARGUMENT");
}

TEST("onnxruntime: an unknown provider is refused with those there are") {
  SessionOptions options;
  options.providers = {{"cpu", {}, {}}, {"abacus", {}, {}}};
  const auto session = TryLoad(ReluModel(), options);
  CHECK_EQ(CodeOf(session.status()), "ERR_TENON_PROVIDER");
  CHECK(session.status().message().find("\"abacus\"") != std::string::npos);
  CHECK(session.status().message().find("CPUExecutionProvider") != std::string::npos);
}

TEST("onnxruntime: the CPU provider takes the option of its arena and no other") {
  SessionOptions options;
  options.providers = {{"CPUExecutionProvider", {{"use_arena", "0"}}, {}}};
  CHECK_EQ(RunShown(*LoadModel(ReluModel(), options), {Floats({-1, 2})}), "float32[2] 0 2");
  options.providers = {{"cpu", {{"use_abacus", "1"}}, {}}};
  const auto session = TryLoad(ReluModel(), options);
  CHECK_EQ(CodeOf(session.status()), "ERR_TENON_PROVIDER");
  CHECK(session.status().message().find("\"use_abacus\"") != std::string::npos);
}

TEST("onnxruntime: a custom operator library that is not there is refused by its path") {
  SessionOptions options;
  options.custom_op_libraries = {"/no/such/operators.so"};
  const auto session = TryLoad(ReluModel(), options);
  CHECK_EQ(CodeOf(session.status()), "ERR_TENON_ENGINE_LOAD");
  CHECK(session.status().message().find("/no/such/operators.so") != std::string::npos);
}

// --- Running ---

TEST("onnxruntime: a request that does not fit the model never reaches the engine") {
  const auto session = LoadModel(ReluModel());
  CHECK_EQ(CodeOf(session->Run(Request({})).status()), "ERR_TENON_MISSING_FEED");
  CHECK_EQ(CodeOf(session->Run(Request({Int64s({1})})).status()), "ERR_TENON_DTYPE");
  CHECK_EQ(CodeOf(session->Run(Request({Floats({1})}, {1})).status()), "ERR_TENON_UNKNOWN_OUTPUT");
}

TEST("onnxruntime: a run that fails keeps the engine's text and number") {
  const auto session = LoadModel(AddModel());
  const auto result = session->Run(Request({Floats({1, 1})}));
  CHECK_EQ(CodeOf(result.status()), "ERR_TENON_RUN");
  CHECK_EQ(result.status().engine_code(), 2);
  CHECK(result.status().message().find("rank") != std::string::npos);
}

TEST("onnxruntime: a run that asks for no outputs gives none") {
  const auto session = LoadModel(ReluModel());
  CHECK_EQ(RunModel(*session, {Floats({1})}, {}).size(), 0u);
}

TEST("onnxruntime: outputs outlive their session") {
  auto session = LoadModel(ReluModel());
  const std::vector<Value> outputs = RunModel(*session, {Floats({-1, 2})});
  session.reset();
  CHECK_EQ(Show(outputs[0]), "float32[2] 0 2");
}

TEST("onnxruntime: a session runs on several threads at once") {
  const auto session = LoadModel(AddModel());
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&session, &wrong, t] {
      const auto base = static_cast<float>(t);
      for (int i = 0; i < 200; ++i) {
        const auto result =
            session->Run(Request({Floats({base, base}, {1, 2, 1}), Floats({1, 2})}));
        if (!result.ok() || result.value()[0].tensor.byte_length != 16 ||
            static_cast<const float*>(result.value()[0].tensor.data)[3] != base + 2) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST("onnxruntime: a run is stopped by its token, and the session runs on") {
  auto loaded = TryLoadFile(Fixture("models/slow.onnx"));
  CHECK_OK(loaded);
  Session& session = **loaded;
  CancelToken token;
  // A minute's work, were it not stopped.
  const int64_t steps = 120000;
  RunRequest request = Request(
      {BytesTensor(DType::kInt64, {}, {reinterpret_cast<const char*>(&steps), sizeof(steps)})});
  request.cancel = &token;
  std::thread canceller([&token] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    token.Cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  const auto result = session.Run(request);
  canceller.join();
  CHECK_EQ(CodeOf(result.status()), "ERR_TENON_ABORTED");
  CHECK_EQ(result.status().engine_code(), 1);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));

  const int64_t one = 1;
  CHECK_EQ(RunShown(session, {BytesTensor(DType::kInt64, {},
                                          {reinterpret_cast<const char*>(&one), sizeof(one)})}),
           "float32[] 1");
}

TEST("onnxruntime: a run with a token that was cancelled before does not begin") {
  const auto session = LoadModel(ReluModel());
  CancelToken token;
  token.Cancel();
  RunRequest request = Request({Floats({1})});
  request.cancel = &token;
  CHECK_EQ(CodeOf(session->Run(request).status()), "ERR_TENON_ABORTED");
}

TEST("onnxruntime: a token that is never cancelled changes nothing") {
  const auto session = LoadModel(ReluModel());
  CancelToken token;
  RunRequest request = Request({Floats({-1, 3})});
  request.cancel = &token;
  const auto result = session->Run(request);
  CHECK_OK(result);
  CHECK_EQ(Show(result.value()[0]), "float32[2] 0 3");
}

// --- Shapes that are expected ---

TEST("onnxruntime: an output of an expected shape is right when sizes change from run to run") {
  const auto session = LoadModel(ReluModel());
  for (int round = 0; round < 3; ++round) {
    for (size_t count : {1, 3, 0, 2, 2000}) {
      const std::vector<float> values(count, static_cast<float>(round + 1));
      CHECK_EQ(RunShown(*session, {Floats(values)}), Show(Floats(values)));
    }
  }
}

TEST("onnxruntime: a shape that the model declares wrongly is not believed") {
  // "n" is the feed's size, not the output's.
  Graph graph;
  graph.inputs = {{"x", TensorType(kFloat, {"n"})}};
  graph.outputs = {{"y", TensorType(kFloat, {"n"})}};
  graph.initializers = {Initializer("zero", kFloat, {}, RawFloats({0}))};
  graph.nodes = {Node("Greater", {"x", "zero"}, {"b"}), Node("Compress", {"x", "b"}, {"y"})};
  const auto session = LoadModel(Model(graph));
  for (int round = 0; round < 3; ++round) {
    CHECK_EQ(RunShown(*session, {Floats({1, -1})}), "float32[1] 1");
    CHECK_EQ(RunShown(*session, {Floats({1, 2})}), "float32[2] 1 2");
  }
  // Believed for two runs, and then wrong.
  const auto other = LoadModel(Model(graph));
  for (int round = 0; round < 3; ++round) {
    CHECK_EQ(RunShown(*other, {Floats({1, 2})}), "float32[2] 1 2");
    CHECK_EQ(RunShown(*other, {Floats({3, 4})}), "float32[2] 3 4");
    CHECK_EQ(RunShown(*other, {Floats({1, -1})}), "float32[1] 1");
    std::vector<Shape> shapes;
    CHECK(!other->ExpectShapes(Request({Floats({1, 2})}), &shapes));
  }
}

TEST("onnxruntime: a run that fails after its shapes were believed says why, and runs on") {
  const auto session = LoadModel(AddModel());
  const Value x = Floats({1, 1, 1, 1}, {1, 2, 2});
  for (int round = 0; round < 3; ++round) {
    CHECK_EQ(RunShown(*session, {x}), "float32[1,2,2] 2.5 3.5 2.5 3.5");
    const auto wrong = session->Run(Request({Floats({1, 1})}));
    CHECK_EQ(CodeOf(wrong.status()), "ERR_TENON_RUN");
    CHECK(wrong.status().message().find("rank") != std::string::npos);
  }
}

TEST("onnxruntime: outputs of believed shapes are their holder's alone") {
  const auto session = LoadModel(ReluModel());
  RunModel(*session, {Floats({1, 2})});
  const std::vector<Value> first = RunModel(*session, {Floats({1, 2})}, {0, 0});
  const std::vector<Value> second = RunModel(*session, {Floats({3, 4})});
  CHECK(first[0].tensor.exclusive && first[1].tensor.exclusive && second[0].tensor.exclusive);
  std::memset(first[0].tensor.data, 0x7f, first[0].tensor.byte_length);
  CHECK_EQ(Show(first[1]), "float32[2] 1 2");
  CHECK_EQ(Show(second[0]), "float32[2] 3 4");
}

TEST("onnxruntime: shapes are expected once a run has borne them out") {
  const auto session = LoadModel(ReluModel());
  std::vector<Shape> shapes;
  const RunRequest request = Request({Floats({1, 2})}, {0, 0});
  CHECK(!session->ExpectShapes(request, &shapes));
  RunModel(*session, {Floats({1, 2, 3})});
  CHECK(session->ExpectShapes(request, &shapes));
  CHECK((shapes == std::vector<Shape>{{2}, {2}}));
}

}  // namespace tenon::onnxruntime
