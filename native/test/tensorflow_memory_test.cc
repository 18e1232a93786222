#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "engines/tensorflow/session.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

// Where feeds come from and where outputs go: host memory, memory of the caller,
// the engine's own; by single runs and by bound ones.

namespace tenon::tensorflow {
namespace {

using namespace test;

using Target = OutputTarget::Kind;

const Api& RealApi() { return dynamic_cast<Library&>(*RealEngine()).api(); }

std::shared_ptr<Session> LoadFixture(const std::string& name) {
  auto session = CreateSession(RealEngine(), ReadSavedModel(Fixture(name), {"serve"}), {});
  CHECK_OK(session);
  return *session;
}

void CheckFails(const Status& status, StatusCode code, const std::string& part) {
  CHECK_EQ(StatusCodeName(status.code()), StatusCodeName(code));
  if (status.message().find(part) == std::string::npos) {
    CHECK_EQ(status.message(), "a message with \"" + part + "\"");
  }
}

// Every input of a signature in order, and every output, with no target yet.
RunRequest RequestOf(const Session& session, size_t signature, std::vector<Value> feeds) {
  RunRequest request;
  request.signature = signature;
  for (size_t i = 0; i < feeds.size(); ++i) request.inputs.push_back(i);
  request.feeds = std::move(feeds);
  for (size_t i = 0; i < session.info().signatures[signature].outputs.size(); ++i) {
    request.outputs.push_back(i);
  }
  return request;
}

RunRequest Kept(RunRequest request) {
  request.targets.assign(request.outputs.size(), {.kind = Target::kEngine, .into = {}});
  return request;
}

RunRequest Into(RunRequest request, const std::vector<Value>& tensors) {
  for (const Value& value : tensors) {
    request.targets.push_back({.kind = Target::kInto, .into = value.tensor});
  }
  return request;
}

std::vector<Value> Run(Session& session, const RunRequest& request) {
  auto outputs = session.Run(request);
  CHECK_OK(outputs);
  return std::move(*outputs);
}

Value OfEngine(std::shared_ptr<const EngineTensor> tensor) {
  Value value;
  value.kind = Value::Kind::kEngineTensor;
  value.engine_tensor = std::move(tensor);
  return value;
}

Value ToHost(const Value& kept) {
  REQUIRE(kept.kind == Value::Kind::kEngineTensor);
  auto tensor = kept.engine_tensor->ToHost();
  CHECK_OK(tensor);
  CHECK(tensor->exclusive);
  return Value::Of(std::move(*tensor));
}

Value Floats(const std::vector<float>& values) {
  return FeedOf(DType::kFloat32, {static_cast<int64_t>(values.size())}, values);
}

TF_Tensor* EngineTensorOf(const Value& value) {
  return TensorFlowEngineTensor::Of(value)->tensor();
}

// "double" gives x + x, "same" x itself.
void AddDouble(Graph* graph) {
  graph->Placeholder("x", TF_FLOAT);
  graph->Add("y", "AddV2", {"x", "x"}, {{"T", TypeAttr(TF_FLOAT)}});
  graph->Identity("z", {"x"}, TF_FLOAT);
  graph->Call("double", {"x:0"}, {"y:0"}).Call("same", {"x:0"}, {"z:0"});
  graph->Call("both", {"x:0"}, {"y:0", "z:0"});
}

// What the engine is fed, and how often it is given memory.
std::vector<void*> fed_data;
std::vector<bool> fed_here;
int tensors_made = 0;
const Api* watched_api = nullptr;

std::shared_ptr<Session> LoadWatched(Graph* graph) {
  watched_api = &RealApi();
  Api api = *watched_api;
  api.TF_NewTensor = [](TF_DataType dtype, const int64_t* dims, int rank, void* data, size_t length,
                        void (*deallocator)(void*, size_t, void*), void* argument) {
    ++tensors_made;
    return watched_api->TF_NewTensor(dtype, dims, rank, data, length, deallocator, argument);
  };
  api.TF_AllocateTensor = [](TF_DataType dtype, const int64_t* dims, int rank, size_t length) {
    ++tensors_made;
    return watched_api->TF_AllocateTensor(dtype, dims, rank, length);
  };
  api.TF_SessionRun = [](TF_Session* session, const TF_Buffer* options, const TF_Output* inputs,
                         TF_Tensor* const* values, int count, const TF_Output* outputs,
                         TF_Tensor** fetched, int fetched_count, const TF_Operation* const* targets,
                         int target_count, TF_Buffer* metadata, TF_Status* status) {
    fed_data.clear();
    for (int i = 0; i < count; ++i) fed_data.push_back(watched_api->TF_TensorData(values[i]));
    fed_here.push_back(options != nullptr);
    watched_api->TF_SessionRun(session, options, inputs, values, count, outputs, fetched,
                               fetched_count, targets, target_count, metadata, status);
  };
  tensors_made = 0;
  fed_here.clear();
  auto session =
      CreateSession(std::make_shared<Library>(api, RealEngine()->version(), RealEngine()->path()),
                    graph->Source(), {});
  CHECK_OK(session);
  return *session;
}

// --- Outputs that stay in the engine ---

TEST("tensorflow: an output that stays in the engine says what it is") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const auto outputs = Run(*session, Kept(RequestOf(*session, 0, {Floats({1, 2, 3})})));
  REQUIRE(outputs.size() == 1 && outputs[0].kind == Value::Kind::kEngineTensor);
  const EngineTensor& kept = *outputs[0].engine_tensor;
  CHECK(kept.dtype() == DType::kFloat32);
  CHECK(kept.shape() == Shape{3});
  CHECK_EQ(kept.byte_length(), size_t{12});
  CHECK_EQ(kept.device(), "cpu");
  Value host = ToHost(outputs[0]);
  CHECK(Elements<float>(host) == (std::vector<float>{2, 4, 6}));
  std::memset(host.tensor.data, 0, host.tensor.byte_length);
  CHECK(Elements<float>(ToHost(outputs[0])) == (std::vector<float>{2, 4, 6}));
}

TEST("tensorflow: a state that stays in the engine is stepped without a copy") {
  Graph graph;
  AddDouble(&graph);
  const auto session = LoadWatched(&graph);
  Value state = Run(*session, Kept(RequestOf(*session, 0, {Floats({1, 0.5f})})))[0];
  tensors_made = 0;
  for (int step = 0; step < 100; ++step) {
    const void* data = RealApi().TF_TensorData(EngineTensorOf(state));
    state = Run(*session, Kept(RequestOf(*session, 0, {state})))[0];
    REQUIRE(fed_data.size() == 1);
    CHECK(fed_data[0] == data);
  }
  CHECK_EQ(tensors_made, 0);
  CHECK(Elements<float>(ToHost(state)) == (std::vector<float>{0x1p101f, 0x1p100f}));
}

TEST("tensorflow: a kept tensor that comes out again is kept without a copy") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const Value state = Run(*session, Kept(RequestOf(*session, 0, {Floats({1, 2})})))[0];
  const Value again = Run(*session, Kept(RequestOf(*session, 1, {state})))[0];
  CHECK(RealApi().TF_TensorData(EngineTensorOf(again)) ==
        RealApi().TF_TensorData(EngineTensorOf(state)));
  // In host memory it is a copy: the caller may write to it.
  Value host = Run(*session, RequestOf(*session, 1, {state}))[0];
  std::memset(host.tensor.data, 0, host.tensor.byte_length);
  CHECK(Elements<float>(ToHost(again)) == (std::vector<float>{2, 4}));
}

TEST("tensorflow: a kept tensor does not change with the feed it came from") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const std::vector<float> values(10000, 1);
  Run(*session, RequestOf(*session, 1, {Floats(values)}));  // the first run copies its feeds
  for (int run = 0; run < 3; ++run) {
    const Value feed = Floats(values);
    const Value kept = Run(*session, Kept(RequestOf(*session, 1, {feed})))[0];
    std::memset(feed.tensor.data, 0, feed.tensor.byte_length);
    CHECK(Elements<float>(ToHost(kept)) == values);
    CHECK_EQ(feed.tensor.owner.use_count(), 1);
  }
}

TEST("tensorflow: kept constants and variables do not change with the model") {
  const auto session = LoadFixture("tf_shared_outputs");
  const size_t outputs = SignatureIndex(*session, "serving_default");
  const size_t assign = SignatureIndex(*session, "assign");
  const Value x = FeedOf<float>(DType::kFloat32, {2, 2}, {1, 2, 3, 4});
  const RunRequest request = Kept(RequestOf(*session, outputs, {x}));
  const auto kept = Run(*session, request);
  std::vector<std::vector<float>> before;
  for (const Value& value : kept) before.push_back(Elements<float>(ToHost(value)));
  const auto assigned = Run(*session, Kept(RequestOf(*session, assign, {Floats({7, 8, 9})})));
  Run(*session, RequestOf(*session, assign, {Floats({-1, -2, -3})}));
  for (size_t i = 0; i < kept.size(); ++i) {
    CHECK(Elements<float>(ToHost(kept[i])) == before[i]);
  }
  for (size_t i = 0; i < assigned.size(); ++i) {
    const std::string& name = session->info().signatures[assign].outputs[i].name;
    CHECK(Elements<float>(ToHost(assigned[i])) ==
          (name == "after" ? std::vector<float>{7, 8, 9} : std::vector<float>{1, 2, 3}));
  }
}

// A variable of TensorFlow 1 or 2 with "read", "set" and "add", the last in place.
std::shared_ptr<Session> LoadVariable(bool resource, int64_t size = 1024) {
  Graph graph;
  const std::string type = TypeAttr(TF_FLOAT);
  const std::string shape = ShapeAttr({size});
  graph.Placeholder("x", TF_FLOAT);
  if (resource) {
    graph.Add("v", "VarHandleOp", {},
              {{"dtype", type}, {"shape", shape}, {"shared_name", StringAttr("v")}});
    graph.Add("set", "AssignVariableOp", {"v", "x"}, {{"dtype", type}});
    graph.Add("add", "AssignAddVariableOp", {"v", "x"}, {{"dtype", type}});
    graph.Add("read", "ReadVariableOp", {"v"}, {{"dtype", type}});
  } else {
    graph.Add("v", "VariableV2", {}, {{"dtype", type}, {"shape", shape}});
    graph.Add("set", "Assign", {"v", "x"}, {{"T", type}});
    graph.Add("add", "AssignAdd", {"v", "x"}, {{"T", type}});
    graph.Identity("read", {"v"}, TF_FLOAT);
  }
  graph.Const<int32_t>("one", TF_INT32, {}, {1});
  graph.Identity("was_set", {"one", "^set"}, TF_INT32);
  graph.Identity("was_added", {"one", "^add"}, TF_INT32);
  graph.Call("set", {"x:0"}, {"was_set:0"}).Call("add", {"x:0"}, {"was_added:0"});
  graph.Call("read", {}, {"read:0"});
  return graph.Load();
}

TEST("tensorflow: a kept variable does not change when it is written in place") {
  for (const bool resource : {true, false}) {
    const auto session = LoadVariable(resource);
    const auto all = [](float value) { return std::vector<float>(1024, value); };
    Run(*session, RequestOf(*session, 0, {Floats(all(5))}));
    // Fed by the engine's memory, the variable may go on with that very memory.
    const Value five = Run(*session, Kept(RequestOf(*session, 2, {})))[0];
    for (int step = 1; step <= 3; ++step) {
      const Value kept = Run(*session, Kept(RequestOf(*session, 2, {})))[0];
      Run(*session, RequestOf(*session, 1, {Floats(all(1))}));
      CHECK(Elements<float>(ToHost(kept)) == all(4.0f + static_cast<float>(step)));
    }
    Run(*session, RequestOf(*session, 0, {five}));
    const Value again = Run(*session, Kept(RequestOf(*session, 2, {})))[0];
    Run(*session, RequestOf(*session, 1, {five}));
    CHECK(Elements<float>(ToHost(five)) == all(5));
    CHECK(Elements<float>(ToHost(again)) == all(5));
    CHECK(Elements<float>(Run(*session, RequestOf(*session, 2, {}))[0]) == all(10));
  }
}

TEST("tensorflow: an engine tensor tells nothing of what an input keeps") {
  const auto session = LoadVariable(true);
  const std::vector<float> ones(1024, 1);
  Graph doubles;
  AddDouble(&doubles);
  const auto other = doubles.Load();
  const Value kept = Run(*other, Kept(RequestOf(*other, 1, {Floats(ones)})))[0];
  Run(*session, RequestOf(*session, 0, {kept}));
  const Value feed = Floats(ones);
  Run(*session, RequestOf(*session, 0, {feed}));
  std::memset(feed.tensor.data, 0, feed.tensor.byte_length);
  CHECK(Elements<float>(Run(*session, RequestOf(*session, 2, {}))[0]) == ones);
}

TEST("tensorflow: strings, packed types and tensors of nothing stay in the engine") {
  Graph graph;
  graph.Placeholder("s", TF_STRING).Identity("t", {"s"}, TF_STRING);
  graph.Placeholder("i", TF_INT4).Identity("j", {"i"}, TF_INT4);
  graph.Const<float>("c", TF_FLOAT, {0, 3}, {});
  graph.Call("strings", {"s:0"}, {"t:0"}).Call("packed", {"i:0"}, {"j:0"});
  graph.Call("nothing", {}, {"c:0"});
  const auto session = graph.Load();

  const std::vector<std::string> texts{"", "short", std::string(1000, 'l'), std::string("\0x", 2)};
  Value strings = StringFeed({2, 2}, texts);
  for (int step = 0; step < 3; ++step) {
    strings = Run(*session, Kept(RequestOf(*session, 0, {strings})))[0];
    CHECK_EQ(strings.engine_tensor->byte_length(), size_t{1007});
  }
  CHECK(strings.engine_tensor->shape() == (Shape{2, 2}));
  CHECK(Strings(ToHost(strings)) == texts);

  Value packed = FeedOf<uint8_t>(DType::kInt4, {5}, {0x1d, 0x78, 0x0f});
  for (int step = 0; step < 3; ++step) {
    packed = Run(*session, Kept(RequestOf(*session, 1, {packed})))[0];
    CHECK_EQ(packed.engine_tensor->byte_length(), size_t{3});
  }
  CHECK(Elements<uint8_t>(ToHost(packed)) == (std::vector<uint8_t>{0x1d, 0x78, 0x0f}));

  const Value nothing = Run(*session, Kept(RequestOf(*session, 2, {})))[0];
  CHECK(nothing.engine_tensor->shape() == (Shape{0, 3}));
  CHECK_EQ(nothing.engine_tensor->byte_length(), size_t{0});
  CHECK(ToHost(nothing).tensor.shape == (Shape{0, 3}));
}

TEST("tensorflow: a kept tensor outlives its session and goes into others") {
  Graph graph;
  AddDouble(&graph);
  auto session = graph.Load();
  const Value kept = Run(*session, Kept(RequestOf(*session, 0, {Floats({1, 2})})))[0];
  session = nullptr;
  CHECK(Elements<float>(ToHost(kept)) == (std::vector<float>{2, 4}));
  session = graph.Load();
  const auto outputs = Run(*session, RequestOf(*session, 0, {kept}));
  CHECK(Elements<float>(outputs[0]) == (std::vector<float>{4, 8}));
}

class ForeignTensor : public EngineTensor {
 public:
  DType dtype() const override { return DType::kFloat32; }
  const Shape& shape() const override { return shape_; }
  size_t byte_length() const override { return 4; }
  const std::string& device() const override { return device_; }
  Result<Tensor> ToHost() const override { return Tensor(); }

 private:
  Shape shape_{1};
  std::string device_ = "elsewhere";
};

TEST("tensorflow: a tensor that another engine keeps cannot be fed") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const auto request = RequestOf(*session, 0, {OfEngine(std::make_shared<const ForeignTensor>())});
  CheckFails(session->Run(request).status(), StatusCode::kUnsupported, "\"x:0\"");
  CheckFails(session->Bind(Into(request, {Floats({1})})).status(), StatusCode::kUnsupported,
             "\"x:0\"");
}

// --- Outputs in memory that was given ---

TEST("tensorflow: outputs go into given memory") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const Value target = Floats({0, 0});
  RunRequest request = RequestOf(*session, 2, {Floats({1, 2})});
  request.targets = {{.kind = Target::kInto, .into = target.tensor},
                     {.kind = Target::kEngine, .into = {}}};
  const auto outputs = Run(*session, request);
  CHECK(outputs[0].tensor.data == target.tensor.data);
  CHECK(outputs[0].tensor.owner == target.tensor.owner);
  CHECK(Elements<float>(target) == (std::vector<float>{2, 4}));
  CHECK(Elements<float>(ToHost(outputs[1])) == (std::vector<float>{1, 2}));
}

TEST("tensorflow: a shape that does not fit the given memory writes nothing") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const Value fits = Floats({8, 8});
  for (const Shape& shape : {Shape{4}, Shape{1, 2}, Shape{}}) {
    const Value target =
        FeedOf(DType::kFloat32, shape, std::vector<float>(*ElementCount(shape), 9));
    const auto request = Into(RequestOf(*session, 2, {Floats({1, 2})}), {fits, target});
    CheckFails(session->Run(request).status(), StatusCode::kShape,
               "expected shape " + ShapeToString(shape) +
                   " for output \"z:0\", that of the tensor it goes into, received [2]");
    CHECK(Elements<float>(fits) == (std::vector<float>{8, 8}));
    CHECK_EQ(Elements<float>(target)[0], 9);
  }
}

TEST("tensorflow: packed types and tensors of nothing go into given memory") {
  Graph graph;
  graph.Placeholder("i", TF_INT4).Identity("j", {"i"}, TF_INT4);
  graph.Const<float>("c", TF_FLOAT, {0, 3}, {});
  graph.Call("both", {"i:0"}, {"j:0", "c:0"});
  const auto session = graph.Load();
  const Value packed = FeedOf<uint8_t>(DType::kInt4, {3}, {0, 0});
  Value nothing;
  nothing.kind = Value::Kind::kTensor;
  nothing.tensor.dtype = DType::kFloat32;
  nothing.tensor.shape = {0, 3};
  const Value feed = FeedOf<uint8_t>(DType::kInt4, {3}, {0x1d, 0x08});
  Run(*session, Into(RequestOf(*session, 0, {feed}), {packed, nothing}));
  CHECK(Elements<uint8_t>(packed) == (std::vector<uint8_t>{0x1d, 0x08}));
}

TEST("tensorflow: a target may be the memory of a feed") {
  for (const size_t size : {size_t{2}, size_t{10000}}) {
    Graph graph;
    AddDouble(&graph);
    const auto session = graph.Load();
    const auto all = [size](float value) { return std::vector<float>(size, value); };
    // The second output is the feed, which the first one overwrites.
    const Value state = Floats(all(1));
    const Value old = Floats(all(0));
    const auto request = Into(RequestOf(*session, 2, {state}), {state, old});
    for (const float expected : {1.0f, 2.0f, 4.0f}) {
      Run(*session, request);
      CHECK(Elements<float>(old) == all(expected));
    }
    const auto bound = session->Bind(request);
    CHECK_OK(bound);
    for (const float expected : {8.0f, 16.0f, 32.0f}) {
      CHECK_OK(bound.value()->Run(nullptr));
      CHECK(Elements<float>(old) == all(expected));
    }
    CHECK(Elements<float>(state) == all(64));
  }
}

// --- Bound runs ---

TEST("tensorflow: a bound run reads its feeds and writes its targets each time") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const Value feed = Floats({0, 0});
  const Value target = Floats({0, 0});
  const auto bound = session->Bind(Into(RequestOf(*session, 0, {feed}), {target}));
  CHECK_OK(bound);
  for (int run = 0; run < 10; ++run) {
    static_cast<float*>(feed.tensor.data)[0] = static_cast<float>(run);
    CHECK_OK(bound.value()->Run(nullptr));
    CHECK(Elements<float>(target) == (std::vector<float>{2 * static_cast<float>(run), 0}));
  }
}

TEST("tensorflow: a bound run passes large feeds by pointer") {
  Graph graph;
  AddDouble(&graph);
  const auto session = LoadWatched(&graph);
  const Value feed = Floats(std::vector<float>(10000, 1));
  const Value target = Floats(std::vector<float>(10000, 0));
  const auto bound = session->Bind(Into(RequestOf(*session, 0, {feed}), {target}));
  CHECK_OK(bound);
  CHECK_OK(bound.value()->Run(nullptr));  // finds out that the graph keeps nothing
  for (int run = 0; run < 10; ++run) {
    static_cast<float*>(feed.tensor.data)[9999] = static_cast<float>(run);
    CHECK_OK(bound.value()->Run(nullptr));
    CHECK(fed_data == std::vector<void*>{feed.tensor.data});
    CHECK_EQ(static_cast<float*>(target.tensor.data)[9999], 2 * static_cast<float>(run));
  }
  CHECK_EQ(feed.tensor.owner.use_count(), 2);  // here, and the binding's: not TensorFlow's
}

TEST("tensorflow: a bound run copies feeds TensorFlow cannot use, each time") {
  Graph graph;
  AddDouble(&graph);
  graph.Placeholder("i", TF_INT4).Identity("j", {"i"}, TF_INT4);
  graph.Call("packed", {"i:0"}, {"j:0"});
  const auto session = LoadWatched(&graph);
  Value odd = Floats({0, 0, 0});
  odd.tensor.data = static_cast<float*>(odd.tensor.data) + 1;
  odd.tensor.byte_length -= sizeof(float);
  odd.tensor.shape = {2};
  const Value target = Floats({0, 0});
  const auto bound = session->Bind(Into(RequestOf(*session, 0, {odd}), {target}));
  CHECK_OK(bound);
  const Value packed = FeedOf<uint8_t>(DType::kInt4, {2}, {0});
  const Value packed_target = FeedOf<uint8_t>(DType::kInt4, {2}, {0});
  const auto bound_packed = session->Bind(Into(RequestOf(*session, 3, {packed}), {packed_target}));
  CHECK_OK(bound_packed);
  tensors_made = 0;
  for (int run = 0; run < 5; ++run) {
    static_cast<float*>(odd.tensor.data)[1] = static_cast<float>(run);
    CHECK_OK(bound.value()->Run(nullptr));
    CHECK(Elements<float>(target) == (std::vector<float>{0, 2 * static_cast<float>(run)}));
    *static_cast<uint8_t*>(packed.tensor.data) = static_cast<uint8_t>(0x50 + run);
    CHECK_OK(bound_packed.value()->Run(nullptr));
    CHECK_EQ(int{*static_cast<uint8_t*>(packed_target.tensor.data)}, 0x50 + run);
  }
  CHECK_EQ(tensors_made, 0);  // always into the same copy
}

TEST("tensorflow: a bound feed that TensorFlow keeps is not the variable's") {
  for (const int64_t size : {16, 10000}) {
    const auto session = LoadVariable(true, size);
    const auto all = [size](float value) {
      return std::vector<float>(static_cast<size_t>(size), value);
    };
    const Value feed = Floats(all(0));
    const Value done = FeedOf<int32_t>(DType::kInt32, {}, {0});
    const auto bound = session->Bind(Into(RequestOf(*session, 0, {feed}), {done}));
    CHECK_OK(bound);
    for (const float value : {3.0f, 4.0f, 5.0f}) {
      std::fill_n(static_cast<float*>(feed.tensor.data), size, value);
      CHECK_OK(bound.value()->Run(nullptr));
      std::fill_n(static_cast<float*>(feed.tensor.data), size, -1.0f);
      CHECK(Elements<float>(Run(*session, RequestOf(*session, 2, {}))[0]) == all(value));
    }
    CHECK_EQ(feed.tensor.owner.use_count(), 2);  // here, and the binding's: not the model's
  }
}

TEST("tensorflow: memory that an input keeps after all is held, and copied from then on") {
  // Assigns what it is fed where "when" is true.
  Graph graph;
  const std::string type = TypeAttr(TF_FLOAT);
  const std::string any = TypeAttr(TF_RESOURCE);
  constexpr int64_t kSize = 10000;
  graph.Placeholder("x", TF_FLOAT).Placeholder("when", TF_BOOL);
  graph.Add("v", "VarHandleOp", {},
            {{"dtype", type}, {"shape", ShapeAttr({kSize})}, {"shared_name", StringAttr("v")}});
  graph.Add("switch_v", "Switch", {"v", "when"}, {{"T", any}});
  graph.Add("switch_x", "Switch", {"x", "when"}, {{"T", type}});
  graph.Add("set", "AssignVariableOp", {"switch_v:1", "switch_x:1"}, {{"dtype", type}});
  graph.Add("read", "ReadVariableOp", {"v"}, {{"dtype", type}});
  graph.Add("kept_or_not", "Merge", {"switch_set", "switch_x"}, {{"T", type}, {"N", IntAttr(2)}});
  graph.Identity("switch_set", {"switch_x:1", "^set"}, TF_FLOAT);
  graph.Call("maybe", {"x:0", "when:0"}, {"kept_or_not:0"}).Call("read", {}, {"read:0"});
  const auto session = graph.Load();
  const auto all = [](float value) { return std::vector<float>(kSize, value); };
  const auto when = [](bool yes) { return FeedOf<uint8_t>(DType::kBool, {}, {yes}); };

  const Value feed = Floats(all(1));
  const Value target = Floats(all(0));
  const Value flag = when(false);
  const auto bound = session->Bind(Into(RequestOf(*session, 0, {feed, flag}), {target}));
  CHECK_OK(bound);
  for (int run = 0; run < 3; ++run) CHECK_OK(bound.value()->Run(nullptr));
  CHECK_EQ(feed.tensor.owner.use_count(), 2);
  *static_cast<uint8_t*>(flag.tensor.data) = 1;
  CHECK_OK(bound.value()->Run(nullptr));
  CHECK_EQ(feed.tensor.owner.use_count(), 3);  // the variable's, too: it is this memory
  CHECK_OK(bound.value()->Run(nullptr));       // and now a copy of it
  CHECK_EQ(feed.tensor.owner.use_count(), 2);
  std::fill_n(static_cast<float*>(feed.tensor.data), kSize, 2.0f);
  CHECK(Elements<float>(Run(*session, RequestOf(*session, 1, {}))[0]) == all(1));
}

TEST("tensorflow: strings and kept tensors can be bound to") {
  Graph graph;
  AddDouble(&graph);
  graph.Placeholder("s", TF_STRING);
  graph.Add("length", "StringLength", {"s"}, {});
  graph.Call("length", {"s:0"}, {"length:0"});
  const auto session = LoadWatched(&graph);
  const Value lengths = FeedOf<int32_t>(DType::kInt32, {2}, {0, 0});
  const auto strings = session->Bind(
      Into(RequestOf(*session, 3, {StringFeed({2}, {"four", std::string(100, 'x')})}), {lengths}));
  CHECK_OK(strings);
  const Value kept = Run(*session, Kept(RequestOf(*session, 0, {Floats({1, 2})})))[0];
  const Value target = Floats({0, 0});
  const auto doubled = session->Bind(Into(RequestOf(*session, 0, {kept}), {target}));
  CHECK_OK(doubled);
  tensors_made = 0;
  for (int run = 0; run < 3; ++run) {
    CHECK_OK(strings.value()->Run(nullptr));
    CHECK(Elements<int32_t>(lengths) == (std::vector<int32_t>{4, 100}));
    CHECK_OK(doubled.value()->Run(nullptr));
    CHECK(Elements<float>(target) == (std::vector<float>{4, 8}));
  }
  CHECK_EQ(tensors_made, 0);
}

TEST("tensorflow: a bound run that fails can be run again") {
  Graph graph;
  graph.Placeholder("n", TF_INT32);
  graph.Const<float>("zero", TF_FLOAT, {}, {0});
  graph.Add("y", "Fill", {"n", "zero"}, {{"T", TypeAttr(TF_FLOAT)}});
  graph.Call("fill", {"n:0"}, {"y:0"});
  const auto session = graph.Load();
  const Value size = FeedOf<int32_t>(DType::kInt32, {1}, {0});
  const Value target = Floats({7, 7});
  const auto bound = session->Bind(Into(RequestOf(*session, 0, {size}), {target}));
  CHECK_OK(bound);
  const auto run = [&](int32_t n) {
    *static_cast<int32_t*>(size.tensor.data) = n;
    return bound.value()->Run(nullptr);
  };
  for (int round = 0; round < 3; ++round) {
    std::fill_n(static_cast<float*>(target.tensor.data), 2, 7.0f);
    CheckFails(run(3), StatusCode::kShape, "expected shape [2] for output \"y:0\"");
    CheckFails(run(-1), StatusCode::kRun, "");
    CHECK(Elements<float>(target) == (std::vector<float>{7, 7}));
    CHECK_OK(run(2));
    CHECK(Elements<float>(target) == (std::vector<float>{0, 0}));
  }
}

TEST("tensorflow: a bound run keeps its session, its feeds and its targets") {
  Graph graph;
  AddDouble(&graph);
  auto session = graph.Load();
  std::weak_ptr<Session> alive = session;
  Value feed = Floats({1, 2});
  const Value target = Floats({0, 0});
  auto bound = session->Bind(Into(RequestOf(*session, 0, {feed}), {target}));
  CHECK_OK(bound);
  session = nullptr;
  feed = {};
  for (int run = 0; run < 3; ++run) {
    std::memset(target.tensor.data, 0, target.tensor.byte_length);
    CHECK_OK(bound.value()->Run(nullptr));
    CHECK(Elements<float>(target) == (std::vector<float>{2, 4}));
  }
  CHECK(!alive.expired());
  bound.value().reset();
  CHECK(alive.expired());
  CHECK_EQ(target.tensor.owner.use_count(), 1);
}

TEST("tensorflow: only what stays can be bound") {
  Graph graph;
  AddDouble(&graph);
  const auto session = graph.Load();
  const RunRequest request = RequestOf(*session, 0, {Floats({1})});
  CheckFails(session->Bind(request).status(), StatusCode::kInternal, "each output");
  CheckFails(session->Bind(Kept(request)).status(), StatusCode::kInternal, "\"y:0\"");
  float borrowed = 0;
  Value target = Floats({1});
  target.tensor.owner = nullptr;
  target.tensor.data = &borrowed;
  CheckFails(session->Bind(Into(request, {target})).status(), StatusCode::kInternal, "borrowed");
  CheckFails(session->Bind(Into(RequestOf(*session, 0, {target}), {Floats({1})})).status(),
             StatusCode::kInternal, "borrowed");
}

TEST("tensorflow: an aborted bound run does not run") {
  const auto session = LoadFixture("tf_counter");
  const Value target = FeedOf<int64_t>(DType::kInt64, {}, {0});
  const auto bound = session->Bind(
      Into(RequestOf(*session, 0, {FeedOf<int64_t>(DType::kInt64, {}, {5})}), {target}));
  CHECK_OK(bound);
  CancelToken cancel;
  CHECK_OK(bound.value()->Run(&cancel));
  CHECK_EQ(Elements<int64_t>(target)[0], 105);
  cancel.Cancel();
  CheckFails(bound.value()->Run(&cancel), StatusCode::kAborted, "");
  CHECK_EQ(Elements<int64_t>(target)[0], 105);
  CHECK_OK(bound.value()->Run(nullptr));
  CHECK_EQ(Elements<int64_t>(target)[0], 110);
}

// --- Threads ---

TEST("tensorflow: a tiny graph comes to run on the thread that calls") {
  Graph graph;
  AddDouble(&graph);
  const auto session = LoadWatched(&graph);
  const RunRequest request = RequestOf(*session, 0, {Floats({1, 2})});
  // The first runs prepare the graph. A busy machine may need a few more.
  for (int run = 0; run < 10000 && (fed_here.empty() || !fed_here.back()); ++run) {
    CHECK(Elements<float>(Run(*session, request)[0]) == (std::vector<float>{2, 4}));
  }
  CHECK(!fed_here.front());
  CHECK(fed_here.back());
}

TEST("tensorflow: sessions run while others come and go") {
  Graph graph;
  AddDouble(&graph);
  const ModelSource& source = graph.Source();
  const auto session = graph.Load();
  const Value kept = Run(*session, Kept(RequestOf(*session, 1, {Floats({1, 2})})))[0];
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {  // the state of one session is fed to another
    Value state = kept;
    while (!done) {
      auto outputs = session->Run(Kept(RequestOf(*session, 1, {state})));
      if (!outputs.ok()) {
        ++wrong;
        break;
      }
      state = outputs.value()[0];
    }
    const auto host = state.engine_tensor->ToHost();
    if (!host.ok() || Elements<float>(Value::Of(host.value())) != std::vector<float>{1, 2}) ++wrong;
  });
  threads.emplace_back([&] {
    const Value target = Floats({0, 0});
    const auto bound = session->Bind(Into(RequestOf(*session, 0, {kept}), {target}));
    while (!done && wrong == 0) {
      std::memset(target.tensor.data, 0, target.tensor.byte_length);
      if (!bound.ok() || !bound.value()->Run(nullptr).ok() ||
          Elements<float>(target) != std::vector<float>{2, 4}) {
        ++wrong;
      }
    }
  });
  for (int i = 0; i < 50; ++i) {
    auto other = CreateSession(RealEngine(), source, {});
    if (!other.ok()) {
      ++wrong;
      break;
    }
    const auto outputs = other.value()->Run(RequestOf(*other.value(), 0, {kept}));
    if (!outputs.ok() || Elements<float>(outputs.value()[0]) != std::vector<float>{2, 4}) ++wrong;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace tenon::tensorflow
