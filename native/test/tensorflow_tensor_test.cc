#include "engines/tensorflow/tensor.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engines/tensorflow/library.h"
#include "engines/tensorflow/session.h"
#include "engines/tensorflow/string_element.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

namespace tenon::tensorflow {
namespace {

using namespace test;

const Api& RealApi() { return dynamic_cast<Library&>(*RealEngine()).api(); }

// Every length class of an element: empty, inline, the longest inline, just too
// long for that, and far too long; with bytes that end a C string.
const std::vector<std::string>& Texts() {
  static const std::vector<std::string> texts{"",
                                              "a",
                                              std::string("\0\xff\0", 3),
                                              std::string(22, 'i'),
                                              std::string(23, 'h'),
                                              std::string(100000, 'l')};
  return texts;
}

Shape ShapeOf(const std::vector<std::string>& texts) {
  return {static_cast<int64_t>(texts.size())};
}

TEST("tensorflow: dtypes map one to one, but for the one TensorFlow lacks") {
  for (int number = 1; number < kDTypeCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    const auto engine_dtype = DTypeToTensorFlow(dtype);
    CHECK_EQ(engine_dtype.has_value(), dtype != DType::kFloat8E8M0);
    if (!engine_dtype) continue;
    CHECK(DTypeFromTensorFlow(*engine_dtype) == dtype);
    CHECK(DTypeFromTensorFlow(*engine_dtype + kReferenceTypeOffset) == dtype);
  }
  for (const int none :
       {-1, 0, static_cast<int>(TF_RESOURCE), static_cast<int>(TF_VARIANT), 34, 100, 1000}) {
    CHECK(!DTypeFromTensorFlow(none));
  }
  CHECK_EQ(TensorFlowDTypeName(TF_RESOURCE), "resource");
  CHECK_EQ(TensorFlowDTypeName(TF_VARIANT), "variant");
  CHECK_EQ(TensorFlowDTypeName(101), "float32");
}

TEST("tensorflow: string elements are read and written by their layout") {
  for (const std::string& text : Texts()) {
    TF_TString element;
    std::memset(element.raw, 0xee, sizeof(element.raw));
    REQUIRE(string_layout::Write(text, &element));
    CHECK_EQ(string_layout::Read(element), text);
    string_layout::Clear(&element);
    CHECK_EQ(string_layout::Read(element), "");
  }
}

TEST("tensorflow: string elements that only refer to their text are read by their layout") {
  static const char kText[] = "somewhere else";
  const uint64_t size = sizeof(kText) - 1;
  TF_TString view{};
  const uint64_t view_size = size << 2 | 3;
  const char* pointer = kText;
  std::memcpy(view.raw, &view_size, 8);
  std::memcpy(view.raw + 8, &pointer, 8);
  CHECK_EQ(string_layout::Read(view), "somewhere else");
  string_layout::Clear(&view);

  struct {
    TF_TString element{};
    char between[8] = {};
    char text[sizeof(kText)] = "somewhere else";
  } offset;
  const uint32_t offset_size = static_cast<uint32_t>(size << 2 | 2);
  const auto distance =
      static_cast<uint32_t>(offset.text - reinterpret_cast<char*>(&offset.element));
  std::memcpy(offset.element.raw, &offset_size, 4);
  std::memcpy(offset.element.raw + 4, &distance, 4);
  CHECK_EQ(string_layout::Read(offset.element), "somewhere else");
}

TEST("tensorflow: the layout is the library's own") {
  const Api& api = RealApi();
  REQUIRE(api.TF_StringCopy != nullptr);
  for (const std::string& text : Texts()) {
    TF_TString theirs;
    api.TF_StringInit(&theirs);
    api.TF_StringCopy(&theirs, text.data(), text.size());
    CHECK_EQ(string_layout::Read(theirs), text);
    string_layout::Clear(&theirs);

    TF_TString ours;
    REQUIRE(string_layout::Write(text, &ours));
    CHECK_EQ(std::string(api.TF_StringGetDataPointer(&ours), api.TF_StringGetSize(&ours)), text);
    api.TF_StringDealloc(&ours);
  }
}

void CheckStringsPassThrough(const std::shared_ptr<Engine>& engine) {
  Graph graph;
  graph.Placeholder("x", TF_STRING).Identity("y", {"x"}, TF_STRING);
  graph.Add("joined", "StringJoin", {"x", "x"}, {{"N", IntAttr(2)}});
  graph.Call("both", {"x:0"}, {"y:0", "joined:0"});
  auto session = CreateSession(engine, graph.Source(), {});
  CHECK_OK(session);
  const auto outputs = Run(**session, 0, {StringFeed(ShapeOf(Texts()), Texts())});
  CHECK(Strings(outputs[0]) == Texts());
  CHECK(outputs[0].tensor.shape == ShapeOf(Texts()));
  const auto joined = Strings(outputs[1]);
  for (size_t i = 0; i < joined.size(); ++i) CHECK_EQ(joined[i], Texts()[i] + Texts()[i]);

  CHECK(Strings(Run(**session, 0, {StringFeed({}, {"alone"})})[1]) ==
        std::vector<std::string>{"alonealone"});
  const auto none = Run(**session, 0, {StringFeed({0, 3}, {})});
  CHECK_EQ(none[0].tensor.strings->size(), size_t{0});
  CHECK(none[0].tensor.shape == (Shape{0, 3}));
}

TEST("tensorflow: strings pass through a library that exports its string functions") {
  CheckStringsPassThrough(RealEngine());
}

TEST("tensorflow: strings pass through a library that does not export string functions") {
  Api api = RealApi();
  api.TF_StringInit = nullptr;
  api.TF_StringCopy = nullptr;
  api.TF_StringGetDataPointer = nullptr;
  api.TF_StringGetSize = nullptr;
  api.TF_StringDealloc = nullptr;
  CheckStringsPassThrough(
      std::make_shared<Library>(api, RealEngine()->version(), RealEngine()->path()));
}

TEST("tensorflow: every dtype passes through unchanged") {
  for (int number = 1; number < kDTypeCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    const auto engine_dtype = DTypeToTensorFlow(dtype);
    if (!engine_dtype || dtype == DType::kString) continue;
    Graph graph;
    graph.Placeholder("x", *engine_dtype).Identity("y", {"x"}, *engine_dtype);
    graph.Call("same", {"x:0"}, {"y:0"});
    const auto session = graph.Load();
    CHECK(session->info().signatures[0].outputs[0].dtype == dtype);

    for (const Shape& shape : {Shape{3, 5}, Shape{}, Shape{0, 4}}) {
      std::vector<uint8_t> bytes(*DTypeByteLength(dtype, *ElementCount(shape)));
      for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = dtype == DType::kBool ? i % 2 : static_cast<uint8_t>(37 * i + 11);
      }
      // The last byte of a packed tensor is only partly used; the rest reads as 0.
      const size_t used = *ElementCount(shape) * static_cast<size_t>(DTypeBits(dtype)) % 8;
      if (used != 0) bytes.back() &= static_cast<uint8_t>((1u << used) - 1);

      const auto outputs = Run(*session, 0, {FeedOf(dtype, shape, bytes)});
      CHECK(outputs[0].tensor.dtype == dtype);
      CHECK(outputs[0].tensor.shape == shape);
      CHECK(outputs[0].tensor.exclusive);
      if (Elements<uint8_t>(outputs[0]) != bytes) {
        ::tenon::test::Fail(__FILE__, __LINE__,
                            std::string(DTypeName(dtype)) + " came back changed");
      }
    }
  }
}

TEST("tensorflow: four-bit integers are packed low nibble first, with their signs") {
  Graph graph;
  graph.Placeholder("x", TF_INT4);
  graph.Add("y", "Cast", {"x"}, {{"SrcT", TypeAttr(TF_INT4)}, {"DstT", TypeAttr(TF_INT32)}});
  graph.Add("back", "Cast", {"y"}, {{"SrcT", TypeAttr(TF_INT32)}, {"DstT", TypeAttr(TF_INT4)}});
  graph.Call("cast", {"x:0"}, {"y:0", "back:0"});
  const auto session = graph.Load();
  const auto outputs = Run(*session, 0, {FeedOf<uint8_t>(DType::kInt4, {5}, {0x1d, 0x78, 0x0f})});
  CHECK(Elements<int32_t>(outputs[0]) == (std::vector<int32_t>{-3, 1, -8, 7, -1}));
  CHECK(Elements<uint8_t>(outputs[1]) == (std::vector<uint8_t>{0x1d, 0x78, 0x0f}));
}

TEST("tensorflow: a dtype TensorFlow lacks cannot be fed") {
  const auto fed = ToTensorFlow(RealApi(), FeedOf<uint8_t>(DType::kFloat8E8M0, {1}, {1}).tensor,
                                FeedMemory::kPassed, "x");
  CHECK(fed.status().code() == StatusCode::kUnsupported);
}

// What the engine was given and gave, for tests of what is copied.
std::vector<void*> taken_data;
std::vector<void*> given_data;
const Api* watched_api = nullptr;

TEST("tensorflow: aligned feeds and fresh outputs are passed by pointer") {
  watched_api = &RealApi();
  Api api = *watched_api;
  api.TF_NewTensor = [](TF_DataType dtype, const int64_t* dims, int rank, void* data, size_t length,
                        void (*deallocator)(void*, size_t, void*), void* argument) {
    TF_Tensor* tensor =
        watched_api->TF_NewTensor(dtype, dims, rank, data, length, deallocator, argument);
    taken_data.push_back(watched_api->TF_TensorData(tensor));
    return tensor;
  };
  api.TF_TensorData = [](const TF_Tensor* tensor) {
    given_data.push_back(watched_api->TF_TensorData(tensor));
    return given_data.back();
  };
  Graph graph;
  graph.Placeholder("x", TF_FLOAT);
  graph.Add("y", "AddV2", {"x", "x"}, {{"T", TypeAttr(TF_FLOAT)}});
  graph.Identity("same", {"x"}, TF_FLOAT);
  graph.Call("double", {"x:0"}, {"y:0", "same:0"});
  auto session =
      CreateSession(std::make_shared<Library>(api, RealEngine()->version(), RealEngine()->path()),
                    graph.Source(), {});
  CHECK_OK(session);

  const Value feed = FeedOf(DType::kFloat32, {2000}, std::vector<float>(2000, 1.5f));
  Run(**session, 0, {feed});  // finds out that the graph keeps nothing
  taken_data.clear();
  given_data.clear();
  const auto outputs = Run(**session, 0, {feed});
  REQUIRE(taken_data.size() == 1 && !given_data.empty());
  CHECK(taken_data[0] == feed.tensor.data);
  CHECK(outputs[0].tensor.data == given_data[0]);
  // The other output was the feed itself.
  CHECK(given_data.back() == feed.tensor.data);
  CHECK(outputs[1].tensor.data != feed.tensor.data);
  CHECK(outputs[0].tensor.exclusive && outputs[1].tensor.exclusive);
}

TEST("tensorflow: a feed is let go of after the run") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT).Identity("y", {"x"}, TF_FLOAT);
  graph.Call("same", {"x:0"}, {"y:0"});
  const auto session = graph.Load();
  const Value feed = FeedOf<float>(DType::kFloat32, {2}, {1, 2});
  Run(*session, 0, {feed});
  CHECK_EQ(feed.tensor.owner.use_count(), 1);
}

TEST("tensorflow: a feed shorter than its shape is refused and let go of") {
  Tensor tensor = FeedOf<float>(DType::kFloat32, {2}, {1, 2}).tensor;
  tensor.shape = {2000};
  const auto fed = ToTensorFlow(RealApi(), tensor, FeedMemory::kPassed, "x");
  CHECK(fed.status().code() == StatusCode::kDataLength);
  CHECK_EQ(tensor.owner.use_count(), 1);
}

TEST("tensorflow: feeds that are not aligned or not owned are copied") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT).Identity("y", {"x"}, TF_FLOAT);
  graph.Call("same", {"x:0"}, {"y:0"});
  const auto session = graph.Load();
  const std::vector<float> values{1, 2, 3};

  Value odd = FeedOf<float>(DType::kFloat32, {4}, {0, 1, 2, 3});
  odd.tensor.data = static_cast<float*>(odd.tensor.data) + 1;
  odd.tensor.byte_length -= sizeof(float);
  odd.tensor.shape = {3};
  CHECK(Elements<float>(Run(*session, 0, {odd})[0]) == values);
  CHECK_EQ(odd.tensor.owner.use_count(), 1);

  Value borrowed = odd;
  borrowed.tensor.owner = nullptr;
  CHECK(Elements<float>(Run(*session, 0, {borrowed})[0]) == values);

  Value nothing = borrowed;
  nothing.tensor.data = nullptr;
  nothing.tensor.byte_length = 0;
  nothing.tensor.shape = {0};
  CHECK(Run(*session, 0, {nothing})[0].tensor.shape == Shape{0});
}

// A variable "v" that "assign" sets to its input, and slices of everything.
std::unique_ptr<Graph> GraphWithVariable(int64_t size) {
  auto graph = std::make_unique<Graph>();
  const std::string type = TypeAttr(TF_FLOAT);
  const std::map<std::string, std::string> slice{{"T", type}, {"Index", TypeAttr(TF_INT32)}};
  std::vector<float> constant(static_cast<size_t>(size));
  for (size_t i = 0; i < constant.size(); ++i) constant[i] = static_cast<float>(i);
  graph->Placeholder("x", TF_FLOAT);
  graph->Const("c", TF_FLOAT, {size}, constant);
  graph->Add("v", "VarHandleOp", {},
             {{"dtype", type}, {"shape", ShapeAttr({size})}, {"shared_name", StringAttr("v")}});
  graph->Add("set", "AssignVariableOp", {"v", "x"}, {{"dtype", type}});
  graph->Identity("after", {"c", "^set"}, TF_FLOAT);
  graph->Add("read", "ReadVariableOp", {"v"}, {{"dtype", type}});
  graph->Add("sum", "AddV2", {"x", "x"}, {{"T", type}});
  graph->Const<int32_t>("first", TF_INT32, {1}, {0});
  graph->Const<int32_t>("end", TF_INT32, {1}, {static_cast<int32_t>(size / 2)});
  graph->Const<int32_t>("step", TF_INT32, {1}, {1});
  for (const std::string of : {"x", "c", "read", "sum"}) {
    graph->Add(of + "_slice", "StridedSlice", {of, "first", "end", "step"}, slice);
  }
  graph->Call("assign", {"x:0"}, {"after:0"});
  graph->Call("all", {"x:0"},
              {"x_slice:0", "c_slice:0", "read_slice:0", "sum_slice:0", "sum_slice:0", "sum:0",
               "c:0", "read:0"});
  return graph;
}

TEST("tensorflow: writing to an output changes nothing else") {
  constexpr int64_t kSize = 1024;
  const auto graph = GraphWithVariable(kSize);
  const auto session = graph->Load();
  Run(*session, 0, {FeedOf(DType::kFloat32, {kSize}, std::vector<float>(kSize, 5))});
  const Value feed = FeedOf(DType::kFloat32, {kSize}, std::vector<float>(kSize, 3));

  std::vector<std::vector<float>> first;
  for (int run = 0; run < 2; ++run) {
    auto outputs = Run(*session, 1, {feed});
    for (size_t i = 0; i < outputs.size(); ++i) {
      CHECK(outputs[i].tensor.exclusive);
      // Equal to the first run's, whatever was written since.
      if (run == 0) first.push_back(Elements<float>(outputs[i]));
      CHECK(Elements<float>(outputs[i]) == first[i]);
      std::memset(outputs[i].tensor.data, 0xff, outputs[i].tensor.byte_length);
    }
    CHECK(Elements<float>(feed) == std::vector<float>(kSize, 3));
  }
}

TEST("tensorflow: a variable does not change with the tensor that was assigned to it") {
  const auto graph = GraphWithVariable(16);
  const auto session = graph->Load();
  for (const float value : {7.0f, 8.0f}) {
    const Value feed = FeedOf(DType::kFloat32, {16}, std::vector<float>(16, value));
    Run(*session, 0, {feed});
    CHECK_EQ(feed.tensor.owner.use_count(), 1);
    std::memset(feed.tensor.data, 0, feed.tensor.byte_length);
    const auto outputs =
        Run(*session, 1, {FeedOf(DType::kFloat32, {16}, std::vector<float>(16, 0))});
    CHECK(Elements<float>(outputs.back()) == std::vector<float>(16, value));
  }
}

TEST("tensorflow: memory that is passed is held until TensorFlow lets go") {
  const Api& api = RealApi();
  constexpr size_t kCount = kMaxCopiedBytes;
  const Value value = FeedOf(DType::kFloat32, {kCount}, std::vector<float>(kCount, 7));
  auto feed = ToTensorFlow(api, value.tensor, FeedMemory::kPassed, "x");
  CHECK_OK(feed);
  CHECK(feed->passed);
  CHECK(api.TF_TensorData(feed->tensor.get()) == value.tensor.data);
  CHECK_EQ(value.tensor.owner.use_count(), 2);
  CHECK(!IsKept(api, &*feed));
  CHECK_EQ(value.tensor.owner.use_count(), 1);
}

TEST("tensorflow: memory that is small, odd or borrowed is copied") {
  const Api& api = RealApi();
  const Value large = FeedOf(DType::kFloat32, {2001}, std::vector<float>(2001, 7));
  std::vector<Tensor> tensors(3, large.tensor);
  tensors[0].shape = {1000};
  tensors[0].byte_length = 4000;
  tensors[1].shape = {2000};
  tensors[1].byte_length = 8000;
  tensors[1].data = static_cast<float*>(large.tensor.data) + 1;
  tensors[2].owner = nullptr;
  for (const Tensor& tensor : tensors) {
    CHECK(!CanPass(tensor));
    auto feed = ToTensorFlow(api, tensor, FeedMemory::kPassed, "x");
    CHECK_OK(feed);
    CHECK(!feed->passed);
    CHECK(api.TF_TensorData(feed->tensor.get()) != tensor.data);
    CHECK(!IsKept(api, &*feed));
  }
  CHECK(CanPass(large.tensor));
}

TEST("tensorflow: an output outlives its session") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT);
  graph.Add("y", "AddV2", {"x", "x"}, {{"T", TypeAttr(TF_FLOAT)}});
  graph.Call("double", {"x:0"}, {"y:0"});
  auto session = graph.Load();
  const auto outputs = Run(*session, 0, {FeedOf<float>(DType::kFloat32, {2}, {1, 2})});
  session = nullptr;
  CHECK(Elements<float>(outputs[0]) == (std::vector<float>{2, 4}));
}

}  // namespace
}  // namespace tenon::tensorflow
