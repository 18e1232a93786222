#include "engines/onnxruntime/environment.h"

#include <exception>
#include <mutex>

#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/options.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

constexpr const char* kLogId = "tenon";

struct ProviderLibrary {
  std::string name;
  std::string path;
  bool registered = false;  // the engine has it
};

struct Settings {
  std::mutex mutex;
  EnvironmentOptions options;  // without provider_libraries
  bool fixed = false;
  std::vector<ProviderLibrary> libraries;
};

ProviderLibrary* FindLibrary(Settings* settings, const std::string& name) {
  for (ProviderLibrary& library : settings->libraries) {
    if (library.name == name) return &library;
  }
  return nullptr;
}

// Leaked: the engine's threads outlive static objects.
Settings& TheSettings() {
  static auto* settings = new Settings;
  return *settings;
}

ProcessSettings Decided(const EnvironmentOptions& options) {
  ProcessSettings settings;
  settings.log_severity = options.log_severity.value_or(settings.log_severity);
  settings.telemetry = options.telemetry.value_or(settings.telemetry);
  settings.global_pools = options.global_pools;
  settings.log_sink = options.log_sink.value_or(nullptr);
  return settings;
}

Status TooLate(const std::string& what) {
  return {StatusCode::kConfigure,
          "expected " + what +
              " to be set before ONNX Runtime is opened, received another value after it: the "
              "engine has taken the first one for the whole process"};
}

void TENON_ORT_CALL OnLog(void* param, int severity, const char* category, const char* log_id,
                          const char* location, const char* message) {
  const auto text = [](const char* words) { return std::string(words == nullptr ? "" : words); };
  try {
    static_cast<LogSink*>(param)->Write(
        {severity, text(category), text(log_id), text(location), text(message)});
  } catch (const std::exception&) {
    // No memory for a line of the log; the engine's C frames must not see it.
  }
}

Status CheckPools(const ThreadPools& pools) {
  if (pools.intra_op_threads >= 1 && pools.inter_op_threads >= 1) return {};
  return {StatusCode::kInvalidArgument,
          "expected global thread pools of at least 1 thread, received " +
              std::to_string(pools.intra_op_threads) + " and " +
              std::to_string(pools.inter_op_threads)};
}

Status MakeThreading(const Api& api, const ThreadPools& pools, ThreadingOptionsHandle* handle) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  TENON_RETURN_IF_ERROR(check(api.CreateThreadingOptions(Receiver(api, handle))));
  OrtThreadingOptions* const threading = handle->get();
  TENON_RETURN_IF_ERROR(check(api.SetGlobalIntraOpNumThreads(threading, pools.intra_op_threads)));
  TENON_RETURN_IF_ERROR(check(api.SetGlobalInterOpNumThreads(threading, pools.inter_op_threads)));
  TENON_RETURN_IF_ERROR(check(api.SetGlobalSpinControl(threading, pools.spin ? 1 : 0)));
  if (pools.denormal_as_zero) TENON_RETURN_IF_ERROR(check(api.SetGlobalDenormalAsZero(threading)));
  if (pools.affinity.empty()) return {};
  return check(api.SetGlobalIntraOpThreadAffinity(threading, pools.affinity.c_str()));
}

}  // namespace

Status Configure(const EnvironmentOptions& options) {
  if (options.global_pools) TENON_RETURN_IF_ERROR(CheckPools(*options.global_pools));
  Settings& settings = TheSettings();
  std::lock_guard<std::mutex> lock(settings.mutex);
  EnvironmentOptions next = settings.options;
  if (options.log_severity) next.log_severity = options.log_severity;
  if (options.telemetry) next.telemetry = options.telemetry;
  if (options.global_pools) next.global_pools = options.global_pools;
  if (options.log_sink) next.log_sink = options.log_sink;
  if (settings.fixed) {
    const ProcessSettings before = Decided(settings.options);
    const ProcessSettings after = Decided(next);
    if (after.log_severity != before.log_severity) return TooLate("the log level");
    if (after.telemetry != before.telemetry) return TooLate("telemetry");
    if (after.global_pools != before.global_pools) return TooLate("global thread pools");
    if (after.log_sink != before.log_sink) return TooLate("a logger");
  }
  for (const auto& [name, path] : options.provider_libraries) {
    const ProviderLibrary* const library = FindLibrary(&settings, name);
    if (library != nullptr && library->registered && library->path != path) {
      return {StatusCode::kConfigure, "expected the provider library \"" + name + "\" at " +
                                          library->path +
                                          ", which the engine has taken, received " + path};
    }
  }
  for (const auto& [name, path] : options.provider_libraries) {
    if (ProviderLibrary* const library = FindLibrary(&settings, name)) {
      library->path = path;
    } else {
      settings.libraries.push_back({name, path});
    }
  }
  settings.options = std::move(next);
  return {};
}

ProcessSettings FixSettings() {
  Settings& settings = TheSettings();
  std::lock_guard<std::mutex> lock(settings.mutex);
  settings.fixed = true;
  return Decided(settings.options);
}

void UnfixSettings() {
  Settings& settings = TheSettings();
  std::lock_guard<std::mutex> lock(settings.mutex);
  settings.fixed = false;
}

Status MakeEnvironment(const Api& api, const ProcessSettings& settings, OrtEnv** env) {
  ThreadingOptionsHandle threading;
  if (settings.global_pools) {
    TENON_RETURN_IF_ERROR(MakeThreading(api, *settings.global_pools, &threading));
  }
  const int severity = settings.log_severity;
  LogSink* const sink = settings.log_sink;
  OrtStatus* status = nullptr;
  if (sink != nullptr && threading != nullptr) {
    status = api.CreateEnvWithCustomLoggerAndGlobalThreadPools(OnLog, sink, severity, kLogId,
                                                               threading.get(), env);
  } else if (sink != nullptr) {
    status = api.CreateEnvWithCustomLogger(OnLog, sink, severity, kLogId, env);
  } else if (threading != nullptr) {
    status = api.CreateEnvWithGlobalThreadPools(severity, kLogId, threading.get(), env);
  } else {
    status = api.CreateEnv(severity, kLogId, env);
  }
  return TakeStatus(api, status, StatusCode::kEngineLoad);
}

Status RegisterProviderLibraries(const Api& api, OrtEnv* env) {
  Settings& settings = TheSettings();
  std::vector<ProviderLibrary> wanted;
  {
    std::lock_guard<std::mutex> lock(settings.mutex);
    for (const ProviderLibrary& library : settings.libraries) {
      if (!library.registered) wanted.push_back(library);
    }
  }
  // Without the lock: the engine opens a library, which may take a while.
  for (const ProviderLibrary& library : wanted) {
    const std::string subject = "provider library \"" + library.name + "\" (" + library.path + ")";
    if (api.RegisterExecutionProviderLibrary == nullptr) {
      return {StatusCode::kUnsupported,
              subject + ": expected ONNX Runtime 1.22 or newer, which opens such libraries"};
    }
    TENON_RETURN_IF_ERROR(
        WithSubject(TakeStatus(api,
                               api.RegisterExecutionProviderLibrary(
                                   env, library.name.c_str(), ToOrtPath(library.path).c_str()),
                               StatusCode::kProvider),
                    subject));
    std::lock_guard<std::mutex> lock(settings.mutex);
    FindLibrary(&settings, library.name)->registered = true;
  }
  return {};
}

}  // namespace tenon::onnxruntime
