#include <filesystem>
#include <string>

#include "engines/onnxruntime/config_keys.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/environment.h"
#include "engines/onnxruntime/library.h"
#include "runtime/log_queue.h"
#include "test/onnxruntime_models.h"
#include "test/onnxruntime_support.h"
#include "test/test.h"

// Options over a real ONNX Runtime that need a fake library beside it, or a
// process of their own; what JavaScript can see is tested from there.

namespace tenon::onnxruntime {
namespace {

std::string Fake(const std::string& name) {
  return std::string(TENON_FAKES_DIR) + "/fake_" + name + ".so";
}

bool Says(const Status& status, const std::string& words) {
  return status.message().find(words) != std::string::npos;
}

Result<std::shared_ptr<Session>> LoadWith(const SessionOptions& options) {
  return TryLoadFile(Fixture("models/digits_cnn.onnx"), options);
}

}  // namespace

TEST("onnxruntime options: a library of custom operators is asked, and its words are kept") {
  SessionOptions options;
  options.custom_op_libraries = {Fake("custom_ops")};
  const auto session = LoadWith(options);
  CHECK_EQ(CodeOf(session.status()), std::string("ERR_TENON_ENGINE_LOAD"));
  CHECK(Says(session.status(), "the fake operators say no"));
}

TEST("onnxruntime options: operators of a library run, in several sessions at once") {
  const std::string floats = onnx::TensorType(1, {"n"});
  onnx::Graph graph;
  graph.inputs = {{"x", floats}};
  graph.outputs = {{"y", floats}};
  graph.nodes = {onnx::Node("Triple", {"x"}, {"thrice"}, {}, "tenon.test"),
                 onnx::Node("Add", {"thrice", "x"}, {"y"})};
  const std::string model =
      onnx::Model(graph, 19, onnx::Field(8, onnx::Field(1, "tenon.test") + onnx::Field(2, 1)));
  CHECK(TryLoad(model).status().code() == StatusCode::kModelInvalid);

  SessionOptions options;
  options.custom_op_libraries = {std::string(TENON_FAKES_DIR) + "/custom_ops_triple.so"};
  auto first = LoadModel(model, options);
  const auto second = LoadModel(model, options);
  CHECK_EQ(Show(RunModel(*first, {Floats({1, 2, -3})})[0]), std::string("float32[3] 4 8 -12"));
  first.reset();
  CHECK_EQ(Show(RunModel(*second, {Floats({5})})[0]), std::string("float32[1] 20"));
}

TEST("onnxruntime options: a provider library is opened once, and its name stays its own") {
  EnvironmentOptions options;
  options.log_severity = 4;  // as TheEngine has it
  options.provider_libraries = {{"fake", Fake("provider_library")}};
  CHECK_OK(Open(LibraryPath(), options));
  // Registered: another path for it comes too late, the same one does not.
  CHECK_OK(Open(LibraryPath(), options));
  options.provider_libraries[0].second = Fake("custom_ops");
  CHECK(Configure(options).code() == StatusCode::kConfigure);
  // It has no providers.
  SessionOptions session;
  session.providers = {{"fake", {}, {}}};
  CHECK(LoadWith(session).status().code() == StatusCode::kProvider);
}

TEST("onnxruntime options: a provider library that is none keeps failing until it is corrected") {
  EnvironmentOptions options;
  options.provider_libraries = {{"fake", Fake("custom_ops")}};
  for (int i = 0; i < 2; ++i) {
    const auto engine = Open(LibraryPath(), options);
    CHECK(engine.status().code() == StatusCode::kProvider);
    CHECK(Says(engine.status(), "CreateEpFactories"));
  }
  options.provider_libraries[0].second = Fake("provider_library");
  CHECK_OK(Open(LibraryPath(), options));
}

TEST("onnxruntime options: settings are merged until the environment is made, and compared after") {
  EnvironmentOptions quiet;
  quiet.log_severity = 4;
  CHECK_OK(Configure(quiet));
  EnvironmentOptions pools;
  pools.global_pools.emplace().intra_op_threads = 2;
  CHECK_OK(Configure(pools));
  CHECK_OK(Open(LibraryPath()));
  CHECK_OK(Configure(quiet));
  CHECK_OK(Configure(pools));
  CHECK_OK(Configure({}));
  pools.global_pools->intra_op_threads = 3;
  CHECK(Configure(pools).code() == StatusCode::kConfigure);
  CHECK(Open(LibraryPath(), pools).status().code() == StatusCode::kConfigure);
  quiet.log_severity = 0;
  CHECK(Configure(quiet).code() == StatusCode::kConfigure);
  quiet.log_severity.reset();
  quiet.log_sink = &LogQueue::Get();
  CHECK(Configure(quiet).code() == StatusCode::kConfigure);
}

TEST("onnxruntime options: global pools have at least one thread") {
  EnvironmentOptions options;
  options.global_pools.emplace().intra_op_threads = 0;
  CHECK(Configure(options).code() == StatusCode::kInvalidArgument);
}

TEST("onnxruntime options: a library that cannot be opened fixes nothing") {
  EnvironmentOptions options;
  options.log_severity = 0;
  CHECK(!Open(Fake("onnxruntime_old"), options).ok());
  options.log_severity = 4;
  CHECK_OK(Configure(options));
}

TEST("onnxruntime options: keys of the engine's own are known, others are their owners'") {
  auto library = Library::Load(LibraryPath());
  CHECK_OK(library);
  for (const char* key : {"session.intra_op.allow_spinning", "mlas.use_lut_gemm", "ep.any.thing",
                          "custom_op.mine.x", "anything"}) {
    CHECK_OK(CheckSessionKey(**library, key));
  }
  for (const char* key : {"session.nothing", "session.intra_op.allow_spining", "mlas.x",
                          "optimization.enable_gelu", "session.log_severity_level"}) {
    CHECK(CheckSessionKey(**library, key).code() == StatusCode::kInvalidArgument);
  }
  for (const char* key : {"gpu_graph_id", "memory.enable_memory_arena_shrinkage", "qnn.any"}) {
    CHECK_OK(CheckRunKey(**library, key));
  }
  for (const char* key : {"graph_id_of_gpus", "memory.enable"}) {
    CHECK(CheckRunKey(**library, key).code() == StatusCode::kInvalidArgument);
  }
}

TEST("onnxruntime options: a dimension gets its size by its denotation") {
  const std::string dimension = onnx::Field(2, "n") + onnx::Field(3, "DATA_BATCH");
  const std::string type =
      onnx::Field(1, onnx::Field(1, 1) + onnx::Field(2, onnx::Field(1, dimension)));
  const std::string model = onnx::OneNodeModel("Neg", type, type);
  SessionOptions options;
  options.free_denotation_overrides = {{"DATA_BATCH", 3}};
  const auto session = LoadModel(model, options);
  CHECK_EQ(session->info().signatures[0].inputs[0].shape[0].size, int64_t{3});
  CHECK_EQ(LoadModel(model)->info().signatures[0].inputs[0].shape[0].size, int64_t{-1});
}

TEST("onnxruntime options: text with a NUL is refused, not cut") {
  SessionOptions options;
  options.config_entries = {{std::string("ep.a\0b", 6), "1"}};
  CHECK(LoadWith(options).status().code() == StatusCode::kInvalidArgument);
  options.config_entries = {{"ep.a", std::string("1\0", 2)}};
  CHECK(LoadWith(options).status().code() == StatusCode::kInvalidArgument);
}

TEST("onnxruntime options: a profile is there when its session is gone, and no other file") {
  const auto folder = std::filesystem::temp_directory_path() / "tenon_profile_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  SessionOptions options;
  options.profile_path = (folder / "profile.json").string();
  {
    const auto session = LoadWith(options);
    CHECK_OK(session);
    CHECK(!std::filesystem::exists(options.profile_path));
  }
  CHECK(std::filesystem::file_size(options.profile_path) > 0);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++files;
  CHECK_EQ(files, size_t{1});
  std::filesystem::remove_all(folder);
}

TEST("onnxruntime options: a run's LoRA adapters must have been loaded") {
  SessionOptions options;
  options.active_lora_adapters = {"none"};
  CHECK(LoadWith(options).status().code() == StatusCode::kInvalidArgument);
}

TEST("log queue: what comes while it is full is counted, and the reader is woken once") {
  LogQueue queue;
  size_t woken = 0;
  const auto listener = std::make_shared<LogQueue::Listener>([&woken] { ++woken; });
  queue.Listen(listener);
  for (size_t i = 0; i < LogQueue::kMaxWaiting + 3; ++i) queue.Write(LogRecord());
  CHECK_EQ(woken, size_t{1});
  const LogQueue::Batch batch = queue.Drain();
  CHECK_EQ(batch.records.size(), LogQueue::kMaxWaiting);
  CHECK_EQ(batch.dropped, size_t{3});
  queue.Write(LogRecord());
  CHECK_EQ(woken, size_t{2});
  CHECK_EQ(queue.Drain().dropped, size_t{0});
  const auto later = std::make_shared<LogQueue::Listener>([] {});
  queue.Listen(later);
  queue.Unlisten(listener);  // not the one that listens any more
  queue.Write(LogRecord());
  CHECK_EQ(queue.Drain().records.size(), size_t{1});
  queue.Unlisten(later);
}

}  // namespace tenon::onnxruntime
