#include "engines/onnxruntime/library.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engines/onnxruntime/environment.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

struct Version {
  int major = 0;
  int minor = 0;
};

// "1.30.0", "1.31.0-dev"
std::optional<Version> ParseVersion(std::string_view text) {
  Version version;
  const char* const end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc()) return std::nullopt;
  return version;
}

// The first release whose official builds collect telemetry from the start:
// creating the environment starts its thread and opens its files, so only the
// process's environment can still say no.
constexpr int kFirstMinorWithTelemetry = 29;
constexpr const char* kTelemetryVariable = "ORT_DISABLE_TELEMETRY";

void DisableTelemetryInProcess() {
  const char* value = std::getenv(kTelemetryVariable);
  if (value != nullptr && std::strcmp(value, "1") == 0) return;
#ifdef _WIN32
  _putenv_s(kTelemetryVariable, "1");
#else
  setenv(kTelemetryVariable, "1", 1);
#endif
}

// The one file behind `path`, however it is spelled; "" for a bare name, which
// only the system loader can resolve.
std::string RealPath(const std::string& path) {
  if (path.find_first_of("\\/") == std::string::npos) return "";
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(
      std::filesystem::path(std::u8string(path.begin(), path.end())), error);
  if (error) return path;
  const std::u8string text = real.u8string();
  return {text.begin(), text.end()};
}

struct Registration {
  std::mutex mutex;
  std::shared_ptr<Library> library;
  std::string real_path;
};

// Leaked, so that no static destructor takes the library from a running thread.
Registration& TheRegistration() {
  static auto* registration = new Registration;
  return *registration;
}

}  // namespace

Result<std::shared_ptr<Library>> Library::Load(const std::string& path) {
  std::string error;
  const auto shared = SharedLibrary::Open(path, &error);
  if (!shared) {
    return Status(StatusCode::kEngineLoad,
                  "cannot open ONNX Runtime at \"" + path + "\": " + error);
  }
  const auto get_base = shared->Find<const OrtApiBase*(TENON_ORT_CALL*)()>("OrtGetApiBase");
  const OrtApiBase* base = get_base == nullptr ? nullptr : get_base();
  if (base == nullptr) {
    return Status(
        StatusCode::kEngineLoad,
        "expected an ONNX Runtime library, received one without OrtGetApiBase (" + path + ")");
  }
  const char* words = base->GetVersionString();
  std::string text = words == nullptr ? "" : words;
  const auto version = ParseVersion(text);
  const Status too_old(StatusCode::kEngineVersion,
                       "expected ONNX Runtime 1." + std::to_string(kOldestMinor) +
                           " or newer, received " + (text.empty() ? "no version" : text) + " (" +
                           path + ")");
  if (!version || version->major < 1 || (version->major == 1 && version->minor < kOldestMinor)) {
    return too_old;
  }
  // A version that GetApi does not know makes it print to stderr, so it is not
  // asked for more than the library has.
  const int minor = version->major > 1 ? kNewestMinor : std::min(version->minor, kNewestMinor);
  const void* table = base->GetApi(static_cast<uint32_t>(minor));
  if (table == nullptr) {
    return Status(StatusCode::kEngineVersion, "expected ONNX Runtime " + text +
                                                  " to have API version " + std::to_string(minor) +
                                                  ", received none (" + path + ")");
  }
  return std::shared_ptr<Library>(
      new Library(shared->path(), std::move(text), base, FillApi(table, minor), version->minor));
}

Status Library::ReadProviders() {
  char** names = nullptr;
  int count = 0;
  TENON_RETURN_IF_ERROR(
      TakeStatus(api_, api_.GetAvailableProviders(&names, &count), StatusCode::kEngineLoad));
  providers_.assign(names, names + count);
  return TakeStatus(api_, api_.ReleaseAvailableProviders(names, count), StatusCode::kEngineLoad);
}

Status Library::RegisterProviderLibraries() {
  return onnxruntime::RegisterProviderLibraries(api_, env_);
}

Status Library::CreateEnvironment() {
  const ProcessSettings settings = FixSettings();
  if (!settings.telemetry && minor_ >= kFirstMinorWithTelemetry) DisableTelemetryInProcess();
  const auto check = [this](OrtStatus* status) {
    return TakeStatus(api_, status, StatusCode::kEngineLoad);
  };
  const Status made = MakeEnvironment(api_, settings, &env_);
  if (!made.ok()) {
    UnfixSettings();
    return made;
  }
  has_global_pools_ = settings.global_pools.has_value();
  if (!settings.telemetry) TENON_RETURN_IF_ERROR(check(api_.DisableTelemetryEvents(env_)));
  TENON_RETURN_IF_ERROR(check(api_.GetAllocatorWithDefaultOptions(&allocator_)));
  TENON_RETURN_IF_ERROR(check(api_.CreateCpuMemoryInfo(kOrtDeviceAllocator, kOrtMemTypeDefault,
                                                       Receiver(api_, &cpu_memory_))));
  return ReadProviders();
}

Result<EngineDescription> Library::Describe() {
  return CatchAll([this]() -> Result<EngineDescription> {
    EngineDescription description;
    description.name = "onnxruntime";
    description.version = version_;
    description.path = path_;
    description.providers = providers_;
    if (api_.GetEpDevices != nullptr) {
      const OrtEpDevice* const* devices = nullptr;
      size_t count = 0;
      TENON_RETURN_IF_ERROR(
          TakeStatus(api_, api_.GetEpDevices(env_, &devices, &count), StatusCode::kInternal));
      for (size_t i = 0; i < count; ++i) {
        std::string name = api_.EpDevice_EpName(devices[i]);
        switch (api_.HardwareDevice_Type(api_.EpDevice_Device(devices[i]))) {
          case kOrtHardwareCpu: name += ":CPU"; break;
          case kOrtHardwareGpu: name += ":GPU"; break;
          case kOrtHardwareNpu: name += ":NPU"; break;
        }
        description.devices.push_back(std::move(name));
      }
    }
    return description;
  });
}

Result<std::shared_ptr<Engine>> Open(const std::string& path, const EnvironmentOptions& options) {
  return CatchAll([&]() -> Result<std::shared_ptr<Engine>> {
    TENON_RETURN_IF_ERROR(Configure(options));
    Registration& registration = TheRegistration();
    const std::string real_path = RealPath(path);
    // Held while the library loads: a second opener waits for the first.
    std::lock_guard<std::mutex> lock(registration.mutex);
    const std::shared_ptr<Library>& open = registration.library;
    const auto opened = [&registration]() -> Result<std::shared_ptr<Engine>> {
      TENON_RETURN_IF_ERROR(registration.library->RegisterProviderLibraries());
      return std::shared_ptr<Engine>(registration.library);
    };
    if (open != nullptr && !real_path.empty() && real_path == registration.real_path) {
      return opened();
    }
    const Status conflict(StatusCode::kEngineConflict,
                          open == nullptr
                              ? ""
                              : "expected ONNX Runtime " + open->version() + " (" + open->path() +
                                    "), which this process has already opened, received " + path);
    // Two paths name two libraries. A bare name may be the open one after all:
    // then the loader gives the same mapping again.
    if (open != nullptr && !real_path.empty() && !registration.real_path.empty()) return conflict;

    Result<std::shared_ptr<Library>> loaded = Library::Load(path);
    if (open != nullptr) {
      if (loaded.ok() && (*loaded)->base() == open->base()) return opened();
      return conflict;
    }
    if (!loaded.ok()) return loaded.status();
    TENON_RETURN_IF_ERROR((*loaded)->CreateEnvironment());
    registration.library = *loaded;
    registration.real_path = real_path;
    return opened();
  });
}

}  // namespace tenon::onnxruntime
