#include "engines/tensorflow/library.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "engines/tensorflow/config.h"
#include "engines/tensorflow/engine.h"
#include "engines/tensorflow/guard.h"
#include "engines/tensorflow/handle.h"
#include "platform/cpu_quota.h"
#include "platform/shared_library.h"

namespace tenon::tensorflow {
namespace {

constexpr int kOldestMajor = 2;
constexpr int kOldestMinor = 10;

// TensorFlow reads the variable while it is being mapped, and never again. The
// user's own setting wins.
void QuietStartup() {
#ifdef _WIN32
  if (std::getenv("TF_CPP_MIN_LOG_LEVEL") == nullptr) _putenv_s("TF_CPP_MIN_LOG_LEVEL", "2");
#else
  setenv("TF_CPP_MIN_LOG_LEVEL", "2", /*overwrite=*/0);
#endif
}

bool IsSupported(const char* version) {
  int major = 0;
  int minor = 0;
  if (std::sscanf(version, "%d.%d", &major, &minor) != 2) return false;
  return major > kOldestMajor || (major == kOldestMajor && minor >= kOldestMinor);
}

// What a library is known by: its file with all links followed, so that two
// ways to one file are one library. A bare name is left to the system loader
// and known by itself.
std::string Identity(const std::string& path) {
  if (path.find_first_of("/\\") == std::string::npos) return path;
  const std::filesystem::path file(std::u8string(path.begin(), path.end()));
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(file, error);
  if (error) return path;
  const std::u8string text = real.u8string();
  return {text.begin(), text.end()};
}

}  // namespace

Library::Library(const Api& api, std::string version, std::string path)
    : api_(api), version_(std::move(version)), path_(std::move(path)) {}

Result<std::shared_ptr<Library>> Library::Load(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return Status(StatusCode::kEngineLoad,
                  "expected the path of a TensorFlow library, received \"" +
                      std::string(path.c_str()) + "\"");
  }
  QuietStartup();
  std::string error;
  const auto library = SharedLibrary::Open(path, &error);
  if (!library) {
    return Status(StatusCode::kEngineLoad,
                  "cannot open the TensorFlow library " + path + ": " + error);
  }

  // The version goes first: what an old library lacks is not worth listing.
  Api api;
  api.TF_Version = library->Find<const char* (*)()>("TF_Version");
  std::string version;
  if (api.TF_Version != nullptr) {
    const char* text = api.TF_Version();
    version = text == nullptr ? "" : text;
    if (!IsSupported(version.c_str())) {
      return Status(StatusCode::kEngineVersion,
                    "expected TensorFlow " + std::to_string(kOldestMajor) + "." +
                        std::to_string(kOldestMinor) + " or newer, received " + version + " (" +
                        path + ")");
    }
  }

  std::string missing;
#define TENON_TENSORFLOW_FIND(result, name, parameters) \
  api.name = library->Find<decltype(api.name)>(#name);  \
  if (api.name == nullptr) missing += missing.empty() ? #name : ", " #name;
  TENON_TENSORFLOW_FUNCTIONS(TENON_TENSORFLOW_FIND)
#undef TENON_TENSORFLOW_FIND
  if (!missing.empty()) {
    return Status(StatusCode::kEngineLoad,
                  "expected a TensorFlow library at " + path + ", but it lacks " + missing);
  }

#define TENON_TENSORFLOW_FIND(result, name, parameters) \
  api.name = library->Find<decltype(api.name)>(#name);
  TENON_TENSORFLOW_OPTIONAL_FUNCTIONS(TENON_TENSORFLOW_FIND)
#undef TENON_TENSORFLOW_FIND
  return std::make_shared<Library>(api, version, library->path());
}

Result<EngineDescription> Library::Describe() {
  return Guarded([&]() -> Result<EngineDescription> {
    EngineDescription description;
    description.name = "tensorflow";
    description.version = version_;
    description.path = path_;
    for (bool started = false;; started = true) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        description.devices = devices_;
      }
      if (started || !description.devices.empty()) return description;
      TENON_RETURN_IF_ERROR(StartDevices());
    }
  });
}

Status Library::StartDevices() {
  SessionOptions wanted;
  wanted.intra_op_threads = CpuQuota();
  std::string config;
  TENON_RETURN_IF_ERROR(MakeConfig(wanted, &config));
  const Handle<TF_SessionOptions> options(api_.TF_NewSessionOptions(),
                                          api_.TF_DeleteSessionOptions);
  CallStatus status(api_);
  api_.TF_SetConfig(options.get(), config.data(), config.size(), status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kInternal));

  const Handle<TF_Graph> graph(api_.TF_NewGraph(), api_.TF_DeleteGraph);
  TF_Session* session = api_.TF_NewSession(graph.get(), options.get(), status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kEngineLoad));
  NoteDevices(session);
  api_.TF_CloseSession(session, status.get());
  api_.TF_DeleteSession(session, status.get());
  return {};
}

void Library::NoteDevices(TF_Session* session) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!devices_.empty()) return;
  CallStatus status(api_);
  const Handle<TF_DeviceList> list(api_.TF_SessionListDevices(session, status.get()),
                                   api_.TF_DeleteDeviceList);
  if (list == nullptr || !status.ok()) return;
  for (int i = 0; i < api_.TF_DeviceListCount(list.get()); ++i) {
    const char* name = api_.TF_DeviceListName(list.get(), i, status.get());
    if (name == nullptr) continue;
    // "/job:localhost/replica:0/task:0/device:CPU:0": all jobs here are this process.
    const std::string_view full(name);
    const size_t device = full.find("/device:");
    devices_.emplace_back(device == std::string_view::npos ? full : full.substr(device));
  }
}

Result<std::shared_ptr<Engine>> Open(const std::string& path) {
  return Guarded([&]() -> Result<std::shared_ptr<Engine>> {
    struct Opened {
      std::mutex mutex;
      std::shared_ptr<Library> library;
      std::string identity;
    };
    // Never destroyed: TensorFlow's threads outlive the static objects of this addon.
    static Opened& opened = *new Opened;

    // Held while the library is mapped, so that two threads do not map two.
    std::lock_guard<std::mutex> lock(opened.mutex);
    const std::string identity = Identity(path);
    if (opened.library != nullptr) {
      if (opened.identity == identity) return std::shared_ptr<Engine>(opened.library);
      return Status(StatusCode::kEngineConflict,
                    "expected TensorFlow at " + opened.identity +
                        ", which this process has already opened, received " + path);
    }
    FixProcess();
    auto library = Library::Load(path);
    if (!library.ok()) {
      UnfixProcess();
      return library.status();
    }
    opened.library = *library;
    opened.identity = identity;
    return std::shared_ptr<Engine>(opened.library);
  });
}

}  // namespace tenon::tensorflow
