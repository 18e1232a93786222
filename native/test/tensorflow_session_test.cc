#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "engines/tensorflow/session.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

namespace tenon::tensorflow {
namespace {

using namespace test;

const std::string kHalfPlusTwo = "half_plus_two/00000123";

std::shared_ptr<Session> LoadFixture(const std::string& name,
                                     const std::vector<std::string>& tags = {"serve"}) {
  auto session = CreateSession(RealEngine(), ReadSavedModel(Fixture(name), tags), {});
  CHECK_OK(session);
  return *session;
}

Binding Named(const std::string& name, const std::string& tensor) {
  Binding binding;
  binding.spec.name = name;
  binding.tensor = tensor;
  return binding;
}

// Reports the whole message where it lacks `part`.
void CheckFails(const Status& status, StatusCode code, const std::string& part) {
  CHECK_EQ(StatusCodeName(status.code()), StatusCodeName(code));
  if (status.message().find(part) == std::string::npos) {
    CHECK_EQ(status.message(), "a message with \"" + part + "\"");
  }
}

size_t OutputIndex(const Session& session, size_t signature, const std::string& name) {
  const auto& outputs = session.info().signatures[signature].outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].name == name) return i;
  }
  ::tenon::test::Fail(__FILE__, __LINE__, "the signature has no output " + name);
  throw ::tenon::test::Stop{};
}

TEST("tensorflow: a SavedModel runs") {
  const auto session = LoadFixture(kHalfPlusTwo);
  const auto outputs = Run(*session, SignatureIndex(*session, "serving_default"),
                           {FeedOf<float>(DType::kFloat32, {3}, {1, 2, 5})});
  REQUIRE(outputs.size() == 1);
  CHECK(outputs[0].tensor.shape == Shape{3});
  CHECK(Elements<float>(outputs[0]) == (std::vector<float>{2.5f, 3, 4.5f}));
}

TEST("tensorflow: signatures and metadata are as they were given") {
  ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  source.metadata = {{"producer", "a test"}};
  auto session = CreateSession(RealEngine(), source, {});
  CHECK_OK(session);
  const ModelInfo& info = (*session)->info();
  CHECK(info.metadata == source.metadata);
  REQUIRE(info.signatures.size() == source.signatures.size());
  for (size_t i = 0; i < info.signatures.size(); ++i) {
    CHECK_EQ(info.signatures[i].name, source.signatures[i].name);
  }
  const Signature& signature = info.signatures[SignatureIndex(**session, "serving_default")];
  REQUIRE(signature.inputs.size() == 1 && signature.outputs.size() == 1);
  CHECK_EQ(signature.inputs[0].name, "x");
  CHECK(signature.inputs[0].dtype == DType::kFloat32);
  REQUIRE(signature.inputs[0].shape.size() == 1);
  CHECK_EQ(signature.inputs[0].shape[0].size, -1);
}

TEST("tensorflow: every element type of the fixtures goes through work and identity") {
  for (const std::string model : {"tf_dtypes", "tf_dtypes_small"}) {
    const auto session = LoadFixture(model);
    const auto& signatures = session->info().signatures;
    CHECK(signatures.size() >= 8);
    for (size_t i = 0; i < signatures.size(); ++i) {
      const DType dtype = signatures[i].inputs[0].dtype;
      const Shape shape{2, 3};
      Value feed;
      if (dtype == DType::kString) {
        feed = StringFeed(shape, {"", "a", std::string("b\0c", 3), "\xff\xfe", "d", "e"});
      } else {
        // Small enough to be the same number in the types the fixtures work in.
        std::vector<uint8_t> bytes(*DTypeByteLength(dtype, 6));
        for (size_t at = 0; at < bytes.size(); ++at) {
          bytes[at] = dtype == DType::kBool ? at % 2 : static_cast<uint8_t>(0x31 + at % 8);
        }
        feed = FeedOf(dtype, shape, bytes);
      }
      const auto outputs = TryRun(*session, i, {feed});
      if (!outputs.ok()) {
        // Kernels some types lack in some versions; an identity needs none.
        CHECK(signatures[i].name.starts_with("echo_"));
        continue;
      }
      const Value& output = outputs.value()[0];
      CHECK(output.tensor.dtype == dtype);
      CHECK(output.tensor.shape == shape);
      const bool same = dtype == DType::kString
                            ? Strings(output) == Strings(feed)
                            : Elements<uint8_t>(output) == Elements<uint8_t>(feed);
      if (!same) ::tenon::test::Fail(__FILE__, __LINE__, signatures[i].name + " changed its input");
    }
  }
}

TEST("tensorflow: assets are found and tables initialised") {
  const auto session = LoadFixture("tf_vocabulary");
  const auto outputs = Run(*session, 0, {StringFeed({3}, {"tenon", "nail", "mortise"})});
  CHECK(Elements<int64_t>(outputs[0]) == (std::vector<int64_t>{1, -1, 0}));
}

TEST("tensorflow: two sessions of one model share no variables") {
  const auto first = LoadFixture("tf_counter");
  const auto second = LoadFixture("tf_counter");
  const Value step = FeedOf<int64_t>(DType::kInt64, {}, {5});
  CHECK_EQ(Elements<int64_t>(Run(*first, 0, {step})[0])[0], 105);
  CHECK_EQ(Elements<int64_t>(Run(*first, 0, {step})[0])[0], 110);
  CHECK_EQ(Elements<int64_t>(Run(*second, 0, {step})[0])[0], 105);
}

TEST("tensorflow: writing to an output leaves constants and variables alone") {
  const auto session = LoadFixture("tf_shared_outputs");
  const size_t signature = SignatureIndex(*session, "serving_default");
  const size_t constant = OutputIndex(*session, signature, "constant");
  const size_t variable = OutputIndex(*session, signature, "variable");
  const Value feed = FeedOf<float>(DType::kFloat32, {2, 2}, {1, 2, 3, 4});
  for (int run = 0; run < 3; ++run) {
    auto outputs = Run(*session, signature, {feed});
    CHECK(Elements<float>(outputs[constant]) == (std::vector<float>{10, 20, 30}));
    CHECK(Elements<float>(outputs[variable]) == (std::vector<float>{1, 2, 3}));
    for (Value& output : outputs) {
      std::memset(output.tensor.data, 0xff, output.tensor.byte_length);
    }
    CHECK(Elements<float>(feed) == (std::vector<float>{1, 2, 3, 4}));
  }
}

TEST("tensorflow: tags choose the meta graph") {
  const Value x = FeedOf<float>(DType::kFloat32, {2}, {1, 2});
  const auto run = [&](const std::vector<std::string>& tags) {
    return Elements<float>(Run(*LoadFixture("tf_tags", tags), 0, {x})[0]);
  };
  CHECK(run({"serve"}) == (std::vector<float>{2, 3}));
  CHECK(run({"serve", "gpu"}) == (std::vector<float>{3, 4}));
  CHECK(run({"train"}) == (std::vector<float>{4, 5}));
}

TEST("tensorflow: tags of no meta graph are unknown") {
  const auto source = ReadSavedModel(Fixture("tf_tags"), {"serve", "tpu"});
  const auto session = CreateSession(RealEngine(), source, {});
  CheckFails(session.status(), StatusCode::kUnknownTag, "tpu");
  CHECK_EQ(session.status().engine_code(), 5);
  CheckFails(CreateSession(RealEngine(), ReadSavedModel(Fixture("tf_tags"), {}), {}).status(),
             StatusCode::kUnknownTag, "tag");
}

TEST("tensorflow: a folder without a SavedModel is not found") {
  ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  for (const std::string& folder :
       {std::string("/nowhere"), std::string(TENON_FIXTURES_DIR), std::string(),
        Fixture(kHalfPlusTwo) + std::string("\0", 1), "/" + std::string(100000, 'x')}) {
    source.saved_model = folder;
    CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelNotFound, "");
  }
}

TEST("tensorflow: a SavedModel that makes no sense is invalid") {
  const auto folder = std::filesystem::temp_directory_path() / "tenon_broken_saved_model";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "saved_model.pb", std::ios::binary) << "this is no protobuf";
  ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  source.saved_model = folder.string();
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid, "");
  // Here the graph is whole, but the values of its variables are missing.
  const std::string index = "/variables/variables.index";
  std::filesystem::create_directories(folder / "variables");
  std::filesystem::copy_file(Fixture(kHalfPlusTwo) + "/saved_model.pb", folder / "saved_model.pb",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(Fixture(kHalfPlusTwo) + index, folder.string() + index);
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid, "");
  std::filesystem::remove_all(folder);
}

TEST("tensorflow: a frozen graph runs, with what it declares itself") {
  ModelSource source;
  source.frozen_graph = Fixture("tf_frozen.pb");
  source.signatures = {{"serving_default",
                        {Named("x", "x:0"), Named("y", "y")},
                        {Named("sum", "sum:0"), Named("product", "product:0")}}};
  auto session = CreateSession(RealEngine(), source, {});
  CHECK_OK(session);
  const Signature& signature = (*session)->info().signatures[0];
  CHECK(signature.inputs[1].dtype == DType::kFloat32);
  CHECK(signature.outputs[0].dtype == DType::kFloat32);
  CHECK(!signature.inputs[0].unknown_rank);
  REQUIRE(signature.inputs[0].shape.size() == 1);
  CHECK_EQ(signature.inputs[0].shape[0].size, -1);
  const auto outputs = Run(**session, 0,
                           {FeedOf<float>(DType::kFloat32, {3}, {1, 2, 3}),
                            FeedOf<float>(DType::kFloat32, {3}, {4, 5, 6})});
  CHECK(Elements<float>(outputs[0]) == (std::vector<float>{5, 7, 9}));
  CHECK(Elements<float>(outputs[1]) == (std::vector<float>{4, 10, 18}));
}

TEST("tensorflow: a frozen graph that is missing or makes no sense is refused") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT).Call("same", {"x:0"}, {"x:0"});
  ModelSource source = graph.Source();
  const std::string whole = source.frozen_graph;
  source.frozen_graph = "/nowhere/graph.pb";
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelNotFound,
             "/nowhere/graph.pb");
  source.frozen_graph = std::filesystem::temp_directory_path().string();
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelNotFound, "");
  source.frozen_graph = std::string(100000, 'x');
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelNotFound, "");
  std::ofstream(whole, std::ios::binary) << "this is no graph";
  source.frozen_graph = whole;
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid, "");
}

TEST("tensorflow: an unknown operation is an invalid model") {
  Graph graph;
  graph.Add("x", "TenonHasNoSuchOperation", {}, {}).Call("x", {}, {"x:0"});
  const auto session = CreateSession(RealEngine(), graph.Source(), {});
  CheckFails(session.status(), StatusCode::kModelInvalid, "TenonHasNoSuchOperation");
}

TEST("tensorflow: a signature's tensor that is not in the graph is an invalid model") {
  for (const std::string& tensor :
       {std::string("nothing:0"), std::string("x:1"), std::string("x:-1"), std::string("x:+0"),
        std::string("x: 0"), std::string("x:"), std::string(":0"), std::string(), std::string("^x"),
        std::string("x:0:0"), std::string("x:99999999999999999999"), std::string("x:0x"),
        std::string("x\0y:0", 5), std::string(100000, 'x')}) {
    ModelSource source;
    source.frozen_graph = Fixture("tf_frozen.pb");
    source.signatures = {{"sums", {Named("left", tensor)}, {Named("sum", "sum:0")}}};
    CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid,
               "signature \"sums\", input \"left\"");
    source.signatures = {{"sums", {}, {Named("total", tensor)}}};
    CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid,
               "signature \"sums\", output \"total\"");
  }
}

TEST("tensorflow: a declared dtype must be the graph's") {
  ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  for (SignatureBinding& signature : source.signatures) {
    if (signature.name == "serving_default") signature.outputs[0].spec.dtype = DType::kString;
  }
  CheckFails(CreateSession(RealEngine(), source, {}).status(), StatusCode::kModelInvalid,
             "signature \"serving_default\", output \"y\": expected dtype string of \"y:0\", which "
             "is float32");
}

TEST("tensorflow: resources load, and cannot cross") {
  Graph graph;
  graph.Placeholder("r", TF_RESOURCE).Placeholder("x", TF_FLOAT);
  graph.Identity("same", {"r"}, TF_RESOURCE);
  graph.Call("feed", {"r:0"}, {"x:0"}).Call("fetch", {"x:0"}, {"same:0"});
  const auto session = graph.Load();
  CHECK(session->info().signatures[0].inputs[0].kind == ValueSpec::Kind::kOpaque);
  const Value x = FeedOf<float>(DType::kFloat32, {1}, {1});
  CheckFails(TryRun(*session, 0, {x}).status(), StatusCode::kUnsupported, "r:0");
  CheckFails(TryRun(*session, 1, {x}).status(), StatusCode::kUnsupported, "same:0");
}

TEST("tensorflow: values that are no single tensor load, and cannot cross") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT);
  graph.Call("sparse", {"x:0"}, {"x:0"});
  for (const auto kind : {ValueSpec::Kind::kSparse, ValueSpec::Kind::kSequence}) {
    Binding& input = graph.Source().signatures[0].inputs[0];
    input.tensor = "";
    input.spec.kind = kind;
    input.spec.element = std::make_shared<ValueSpec>();
    auto session = CreateSession(RealEngine(), graph.Source(), {});
    CHECK_OK(session);
    Value sequence;
    sequence.kind = Value::Kind::kSequence;
    CheckFails(TryRun(**session, 0, {sequence}).status(), StatusCode::kUnsupported, "x:0");
  }
}

TEST("tensorflow: a bad request is refused before the engine sees it") {
  const auto session = LoadFixture(kHalfPlusTwo);
  const size_t signature = SignatureIndex(*session, "serving_default");
  const auto status = [&](const std::function<void(RunRequest*)>& change) {
    RunRequest request;
    request.signature = signature;
    request.inputs = {0};
    request.feeds = {FeedOf<float>(DType::kFloat32, {1}, {1})};
    request.outputs = {0};
    change(&request);
    return session->Run(request).status();
  };
  CHECK(status([](RunRequest*) {}).ok());
  CheckFails(status([](RunRequest* request) { request->signature = 99; }),
             StatusCode::kUnknownSignature, "99");
  CheckFails(status([](RunRequest* request) { request->inputs[0] = 7; }), StatusCode::kUnknownFeed,
             "7");
  CheckFails(status([](RunRequest* request) { request->outputs[0] = 7; }),
             StatusCode::kUnknownOutput, "7");
  CheckFails(status([](RunRequest* request) {
               request->inputs.clear();
               request->feeds.clear();
             }),
             StatusCode::kMissingFeed, "\"x\"");
  CheckFails(status([](RunRequest* request) {
               request->feeds = {FeedOf<int32_t>(DType::kInt32, {1}, {1})};
             }),
             StatusCode::kDType, "received int32");
  CheckFails(status([](RunRequest* request) { request->feeds[0].tensor.shape = {2}; }),
             StatusCode::kDataLength, "8 bytes");
}

TEST("tensorflow: a run that fails keeps the engine's text and number") {
  const auto session = LoadFixture("digits_cnn_tf");
  const auto outputs = TryRun(*session, SignatureIndex(*session, "serving_default"),
                              {FeedOf(DType::kFloat32, {1, 3, 3, 1}, std::vector<float>(9))});
  CheckFails(outputs.status(), StatusCode::kRun, "");
  CHECK_EQ(outputs.status().engine_code(), 3);
  CHECK(!outputs.status().message().empty());
}

TEST("tensorflow: two inputs that are one graph tensor cannot both be fed") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT).Identity("y", {"x"}, TF_FLOAT);
  graph.Call("twice", {"x:0", "x:0"}, {"y:0"});
  const auto session = graph.Load();
  const Value x = FeedOf<float>(DType::kFloat32, {1}, {1});
  CheckFails(TryRun(*session, 0, {x, x}).status(), StatusCode::kRun, "x:0");
}

TEST("tensorflow: one output may be asked for twice, or an input be fetched") {
  Graph graph;
  graph.Placeholder("x", TF_FLOAT);
  graph.Add("y", "AddV2", {"x", "x"}, {{"T", TypeAttr(TF_FLOAT)}});
  graph.Call("twice", {"x:0"}, {"y:0", "y:0"}).Call("input", {"x:0"}, {"x:0"});
  const auto session = graph.Load();
  const Value x = FeedOf<float>(DType::kFloat32, {1}, {2});
  const auto outputs = Run(*session, 0, {x});
  CHECK(outputs[0].tensor.data != outputs[1].tensor.data);
  CHECK(Elements<float>(outputs[0]) == Elements<float>(outputs[1]));
  // TensorFlow refuses it, or gives the feed back.
  const auto fetched = TryRun(*session, 1, {x});
  if (fetched.ok()) {
    CHECK(fetched.value()[0].tensor.data != x.tensor.data);
  } else {
    CheckFails(fetched.status(), StatusCode::kRun, "x:0");
  }
}

TEST("tensorflow: an aborted request does not run") {
  const auto session = LoadFixture("tf_counter");
  CancelToken cancel;
  cancel.Cancel();
  RunRequest request;
  request.inputs = {0};
  request.feeds = {FeedOf<int64_t>(DType::kInt64, {}, {5})};
  request.outputs = {0};
  request.cancel = &cancel;
  CheckFails(session->Run(request).status(), StatusCode::kAborted, "");
  request.cancel = nullptr;
  const auto outputs = session->Run(request);
  CHECK_OK(outputs);
  CHECK_EQ(Elements<int64_t>(outputs.value()[0])[0], 105);
}

TEST("tensorflow: session options are checked") {
  const ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  SessionOptions options;
  options.intra_op_threads = 0;
  CheckFails(CreateSession(RealEngine(), source, options).status(), StatusCode::kInvalidArgument,
             "received 0 and 1");
  options.intra_op_threads = 1;
  options.config_proto = "\xff\xff";
  CheckFails(CreateSession(RealEngine(), source, options).status(), StatusCode::kInvalidArgument,
             "");
  options.config_proto = std::string("\x38\x01", 2);  // allow_soft_placement
  CHECK_OK(CreateSession(RealEngine(), source, options));
  CheckFails(CreateSession(nullptr, source, {}).status(), StatusCode::kInternal, "");
  CheckFails(CreateSession(RealEngine(), ModelSource{}, {}).status(), StatusCode::kModelInvalid,
             "signature");
}

TEST("tensorflow: op libraries may be loaded again, and must be there") {
  const ModelSource source = ReadSavedModel(Fixture(kHalfPlusTwo), {"serve"});
  SessionOptions options;
  const std::string library = std::string(TENON_FAKES_DIR) + "/fake_tensorflow_nothing.so";
  options.op_libraries = {library, library};
  CHECK_OK(CreateSession(RealEngine(), source, options));
  CHECK_OK(CreateSession(RealEngine(), source, options));
  options.op_libraries = {"/nowhere/ops.so"};
  CheckFails(CreateSession(RealEngine(), source, options).status(), StatusCode::kEngineLoad,
             "/nowhere/ops.so");
  options.op_libraries = {std::string("ops\0.so", 7)};
  CheckFails(CreateSession(RealEngine(), source, options).status(), StatusCode::kEngineLoad, "NUL");
}

TEST("tensorflow: many threads run one session") {
  const auto session = LoadFixture(kHalfPlusTwo);
  const size_t signature = SignatureIndex(*session, "serving_default");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const auto x = static_cast<float>(t * 1000 + i);
        const auto outputs =
            TryRun(*session, signature, {FeedOf<float>(DType::kFloat32, {1}, {x})});
        if (!outputs.ok() || Elements<float>(outputs.value()[0])[0] != x / 2 + 2) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace tenon::tensorflow
