#include <cstdlib>
#include <filesystem>
#include <string>

#include "engines/onnxruntime/library.h"
#include "engines/onnxruntime/providers.h"
#include "test/onnxruntime_support.h"
#include "test/test.h"

namespace tenon::onnxruntime {
namespace {

std::string Fake(const std::string& name) {
  return std::string(TENON_FAKES_DIR) + "/" + name + ".so";
}

}  // namespace

TEST("onnxruntime: a file that is not there is an engine that cannot be loaded") {
  const auto library = Library::Load("/no/such/library.so");
  CHECK_EQ(CodeOf(library.status()), "ERR_TENON_ENGINE_LOAD");
  CHECK(library.status().message().find("/no/such/library.so") != std::string::npos);
}

TEST("onnxruntime: a library without OrtGetApiBase is no engine") {
  const auto library = Library::Load(Fake("fake_onnxruntime_no_base"));
  CHECK_EQ(CodeOf(library.status()), "ERR_TENON_ENGINE_LOAD");
  CHECK(library.status().message().find("OrtGetApiBase") != std::string::npos);
}

TEST("onnxruntime: a library older than 1.17 is refused by its version") {
  const std::string path = Fake("fake_onnxruntime_old");
  const auto library = Library::Load(path);
  CHECK_EQ(CodeOf(library.status()), "ERR_TENON_ENGINE_VERSION");
  CHECK_EQ(library.status().message(),
           "expected ONNX Runtime 1.17 or newer, received 1.14.0 (" + path + ")");
}

TEST("onnxruntime: a version that is no number is refused") {
  CHECK_EQ(CodeOf(Library::Load(Fake("fake_onnxruntime_nightly")).status()),
           "ERR_TENON_ENGINE_VERSION");
}

TEST("onnxruntime: a library without the API of its version is refused") {
  CHECK_EQ(CodeOf(Library::Load(Fake("fake_onnxruntime_no_api")).status()),
           "ERR_TENON_ENGINE_VERSION");
}

TEST("onnxruntime: slots newer than the library are null, whatever its table holds") {
  const auto library = Library::Load(Fake("fake_onnxruntime_oldest"));
  CHECK_OK(library);
  const Api& api = library.value()->api();
  CHECK(api.CreateEnv != nullptr);
  CHECK(api.GetResizedStringTensorElementBuffer != nullptr);
  CHECK(api.SessionOptionsSetLoadCancellationFlag == nullptr);
  CHECK(api.CopyTensors == nullptr);
  CHECK(api.TensorTypeAndShape_HasShape == nullptr);
}

TEST("onnxruntime: a library newer than all that is known is used as far as it is known") {
  const auto library = Library::Load(Fake("fake_onnxruntime_newer"));
  CHECK_OK(library);
  CHECK_EQ(library.value()->version(), "1.99.0");
  CHECK(library.value()->api().GetTensorElementTypeAndShapeDataReference != nullptr);
}

TEST("onnxruntime: the same file by another path is the library already open") {
  const auto engine = TheEngine();
  const std::filesystem::path link =
      std::filesystem::temp_directory_path() / "tenon_onnxruntime_link.so";
  std::filesystem::remove(link);
  std::filesystem::create_symlink(std::filesystem::absolute(LibraryPath()), link);
  const auto again = Open(link.string(), {});
  std::filesystem::remove(link);
  CHECK_OK(again);
  CHECK(again.value() == engine);
}

TEST("onnxruntime: another library is a conflict while one is open") {
  TheEngine();
  const auto other = Open(Fake("fake_onnxruntime_oldest"), {});
  CHECK_EQ(CodeOf(other.status()), "ERR_TENON_ENGINE_CONFLICT");
  CHECK(other.status().message().find(LibraryPath()) != std::string::npos);
  const auto absent = Open("no_such_library_by_bare_name.so", {});
  CHECK_EQ(CodeOf(absent.status()), "ERR_TENON_ENGINE_CONFLICT");
}

TEST("onnxruntime: the engine describes itself") {
  const auto engine = TheEngine();
  auto description = engine->Describe();
  CHECK_OK(description);
  CHECK_EQ(description->name, "onnxruntime");
  CHECK_EQ(description->version, engine->version());
  CHECK_EQ(description->path, LibraryPath());
  CHECK_EQ(FindProvider("cpu", description->providers), "CPUExecutionProvider");
}

TEST("onnxruntime: telemetry is off before the environment is made") {
  TheEngine();
  const char* value = std::getenv("ORT_DISABLE_TELEMETRY");
  CHECK(value != nullptr && std::string(value) == "1");
}

TEST("onnxruntime: a provider is found by its short and its full name in any case") {
  const std::vector<std::string> available = {"TensorrtExecutionProvider", "CUDAExecutionProvider",
                                              "CPUExecutionProvider"};
  CHECK_EQ(FindProvider("cuda", available), "CUDAExecutionProvider");
  CHECK_EQ(FindProvider("CUDAExecutionProvider", available), "CUDAExecutionProvider");
  CHECK_EQ(FindProvider("TensorRT", available), "TensorrtExecutionProvider");
  CHECK_EQ(FindProvider("webgpu", available), "");
  CHECK_EQ(FindProvider("", available), "");
  CHECK_EQ(FindProvider("ExecutionProvider", available), "");
}

}  // namespace tenon::onnxruntime
