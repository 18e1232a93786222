#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "engines/tensorflow/config.h"
#include "engines/tensorflow/engine.h"
#include "engines/tensorflow/library.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

namespace tenon::tensorflow {
namespace {

using namespace test;

std::string Fake(const std::string& name) {
  return std::string(TENON_FAKES_DIR) + "/fake_tensorflow_" + name + ".so";
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST("tensorflow: a library older than 2.10 is refused by its version") {
  const auto library = Library::Load(Fake("old"));
  CHECK(library.status().code() == StatusCode::kEngineVersion);
  CHECK_EQ(library.status().message(),
           "expected TensorFlow 2.10 or newer, received 2.9.1 (" + Fake("old") + ")");
}

TEST("tensorflow: a version that cannot be read is refused") {
  const auto library = Library::Load(Fake("odd"));
  CHECK(library.status().code() == StatusCode::kEngineVersion);
  CHECK(Contains(library.status().message(), "received nightly"));
}

TEST("tensorflow: a library without needed functions is refused by their names") {
  const auto library = Library::Load(Fake("partial"));
  CHECK(library.status().code() == StatusCode::kEngineLoad);
  CHECK(Contains(library.status().message(), "TF_GetCode, TF_Message"));
  CHECK(Contains(library.status().message(), "TF_SessionRun"));
  CHECK(!Contains(library.status().message(), "TF_NewStatus"));
  // What only newer libraries export is not asked of any.
  CHECK(!Contains(library.status().message(), "TF_String"));
}

TEST("tensorflow: a library of something else is refused") {
  const auto library = Library::Load(Fake("nothing"));
  CHECK(library.status().code() == StatusCode::kEngineLoad);
  CHECK(Contains(library.status().message(), "TF_Version"));
}

TEST("tensorflow: what is no library is refused with the loader's words") {
  const auto path = std::filesystem::temp_directory_path() / "tenon_no_library.so";
  std::ofstream(path) << "text";
  for (const std::string& file : {path.string(), std::string("/nowhere/libtensorflow.so.2")}) {
    const auto library = Library::Load(file);
    CHECK(library.status().code() == StatusCode::kEngineLoad);
    CHECK(Contains(library.status().message(), file));
  }
  std::filesystem::remove(path);
}

TEST("tensorflow: paths no system takes are refused") {
  for (const std::string& path : {std::string(), Fake("old") + std::string("\0x", 2),
                                  std::string(100000, 'x'), "/" + std::string(100000, 'x')}) {
    CHECK(Library::Load(path).status().code() == StatusCode::kEngineLoad);
  }
}

TEST("tensorflow: the config holds the thread counts and then the caller's proto") {
  SessionOptions options;
  options.intra_op_threads = 300;
  options.inter_op_threads = 2;
  options.config_proto = std::string("\x38\x01\0", 3);
  std::string config;
  CHECK_OK(MakeConfig(options, &config));
  CHECK_EQ(config, std::string("\x10\xac\x02\x28\x02\x38\x01\0", 8));
}

TEST("tensorflow: pools that the process has are taken as they are, unless others are asked for") {
  SessionOptions first;
  first.intra_op_threads = 3;
  first.inter_op_threads = 2;
  std::string config;
  CHECK_OK(MakeConfig(first, &config));
  SessionOptions second;
  second.intra_op_threads = 5;
  CHECK_OK(MakeConfig(second, &config));
  CHECK_EQ(config, std::string("\x10\x03\x28\x02", 4));
  second.insist_intra_op = true;
  const Status refused = MakeConfig(second, &config);
  CHECK(refused.code() == StatusCode::kConfigure);
  CHECK(refused.message().find("expected 3 intra-op threads") == 0);
  second.intra_op_threads = 3;
  CHECK_OK(MakeConfig(second, &config));
}

TEST("tensorflow: sessions with pools of their own have whatever numbers they ask for") {
  ProcessOptions process;
  process.per_session_threads = true;
  CHECK_OK(Configure(process));
  FixProcess();
  CHECK_EQ(std::string(std::getenv("TF_OVERRIDE_GLOBAL_THREADPOOL")), std::string("1"));
  SessionOptions options;
  options.insist_intra_op = true;
  std::string config;
  for (const int threads : {2, 3}) {
    options.intra_op_threads = threads;
    CHECK_OK(MakeConfig(options, &config));
    CHECK_EQ(config, std::string("\x10") + static_cast<char>(threads) + "\x28\x01\x48\x01");
  }
  options.shared_threads = true;
  CHECK(MakeConfig(options, &config).code() == StatusCode::kConfigure);
  process.per_session_threads = false;
  CHECK(Configure(process).code() == StatusCode::kConfigure);
}

TEST("tensorflow: a library is opened once, by whatever path") {
  const auto engine = RealEngine();
  CHECK(engine == RealEngine());
  const auto link = std::filesystem::temp_directory_path() / "tenon_link_to_tensorflow.so";
  std::error_code error;
  std::filesystem::remove(link, error);
  std::filesystem::create_symlink(engine->path(), link);
  const auto linked = Open(link.string());
  std::filesystem::remove(link);
  CHECK_OK(linked);
  CHECK(linked.value() == engine);
}

TEST("tensorflow: another library in the same process is a conflict") {
  const auto engine = RealEngine();
  const auto other = Open(Fake("old"));
  CHECK(other.status().code() == StatusCode::kEngineConflict);
  CHECK(Contains(other.status().message(), "received " + Fake("old")));
  CHECK(engine == RealEngine());
}

TEST("tensorflow: the engine describes itself") {
  const auto engine = RealEngine();
  auto description = engine->Describe();
  CHECK_OK(description);
  CHECK_EQ(description->name, "tensorflow");
  CHECK_EQ(description->version, engine->version());
  CHECK(description->version.starts_with("2."));
  CHECK_EQ(description->path, engine->path());
  CHECK(description->providers.empty());
  REQUIRE(!description->devices.empty());
  CHECK_EQ(description->devices[0], "/device:CPU:0");
  CHECK(engine->Describe()->devices == description->devices);
}

}  // namespace
}  // namespace tenon::tensorflow
