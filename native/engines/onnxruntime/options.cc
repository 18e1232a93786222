#include "engines/onnxruntime/options.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "engines/onnxruntime/config_keys.h"
#include "engines/onnxruntime/status.h"
#include "engines/output_file.h"

namespace tenon::onnxruntime {
namespace {

constexpr const char* kIntraOpSpinning = "session.intra_op.allow_spinning";
constexpr const char* kInterOpSpinning = "session.inter_op.allow_spinning";

bool HasEntry(const SessionOptions& options, std::string_view key) {
  return std::any_of(options.config_entries.begin(), options.config_entries.end(),
                     [key](const auto& entry) { return entry.first == key; });
}

Status CheckThreads(const char* name, int threads) {
  if (threads >= 1) return {};
  return {StatusCode::kInvalidArgument,
          std::string("expected ") + name + " of at least 1, received " + std::to_string(threads)};
}

// Whether the session runs on the process's pools.
Status ChoosePools(const Library& library, const SessionOptions& options, bool* shared) {
  *shared = options.shared_threads.value_or(library.has_global_pools());
  if (!*shared || library.has_global_pools()) return {};
  return {StatusCode::kConfigure,
          "expected global thread pools, set before ONNX Runtime is opened, for a session that "
          "shares them, received none"};
}

Status SetThreads(const Library& library, const SessionOptions& options,
                  OrtSessionOptions* session) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  bool shared = false;
  TENON_RETURN_IF_ERROR(ChoosePools(library, options, &shared));
  if (shared) {
    TENON_RETURN_IF_ERROR(check(api.DisablePerSessionThreads(session)));
    return check(api.SetSessionExecutionMode(session, kOrtSequential));
  }
  TENON_RETURN_IF_ERROR(CheckThreads("intraOp threads", options.intra_op_threads));
  TENON_RETURN_IF_ERROR(CheckThreads("interOp threads", options.inter_op_threads));
  const bool parallel = options.inter_op_threads > 1;
  TENON_RETURN_IF_ERROR(check(api.SetIntraOpNumThreads(session, options.intra_op_threads)));
  TENON_RETURN_IF_ERROR(check(api.SetInterOpNumThreads(session, options.inter_op_threads)));
  TENON_RETURN_IF_ERROR(
      check(api.SetSessionExecutionMode(session, parallel ? kOrtParallel : kOrtSequential)));
  for (const char* key : {kIntraOpSpinning, kInterOpSpinning}) {
    if (HasEntry(options, key)) continue;
    TENON_RETURN_IF_ERROR(check(api.AddSessionConfigEntry(session, key, options.spin ? "1" : "0")));
  }
  return {};
}

Status SetLogging(const Api& api, const SessionOptions& options, OrtSessionOptions* session) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  if (options.log_severity) {
    TENON_RETURN_IF_ERROR(check(api.SetSessionLogSeverityLevel(session, *options.log_severity)));
  }
  if (options.log_verbosity != 0) {
    TENON_RETURN_IF_ERROR(check(api.SetSessionLogVerbosityLevel(session, options.log_verbosity)));
  }
  if (options.log_id.empty()) return {};
  TENON_RETURN_IF_ERROR(CheckText("the log id", options.log_id));
  return check(api.SetSessionLogId(session, options.log_id.c_str()));
}

Status SetMemory(const Api& api, const SessionOptions& options, OrtSessionOptions* session) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  // Both are on unless the engine is told otherwise.
  if (!options.cpu_arena) TENON_RETURN_IF_ERROR(check(api.DisableCpuMemArena(session)));
  if (!options.memory_pattern) TENON_RETURN_IF_ERROR(check(api.DisableMemPattern(session)));
  return {};
}

Status SetDimensions(const Api& api, const SessionOptions& options, OrtSessionOptions* session) {
  const auto set = [&](const auto& overrides, auto add) -> Status {
    for (const auto& [name, size] : overrides) {
      TENON_RETURN_IF_ERROR(CheckText("the name of a dimension", name));
      if (size < 0) {
        return {StatusCode::kInvalidArgument, "expected a size of at least 0 for dimension \"" +
                                                  name + "\", received " + std::to_string(size)};
      }
      TENON_RETURN_IF_ERROR(WithSubject(
          TakeStatus(api, add(session, name.c_str(), size), StatusCode::kInvalidArgument),
          "free dimension \"" + name + "\""));
    }
    return {};
  };
  TENON_RETURN_IF_ERROR(set(options.free_dimension_overrides, api.AddFreeDimensionOverrideByName));
  return set(options.free_denotation_overrides, api.AddFreeDimensionOverride);
}

}  // namespace

std::basic_string<OrtPathChar> ToOrtPath(const std::string& path) {
#ifdef _WIN32
  return std::filesystem::path(std::u8string(path.begin(), path.end())).native();
#else
  return path;
#endif
}

Status CheckText(const std::string& what, const std::string& text) {
  if (text.find('\0') == std::string::npos) return {};
  return {StatusCode::kInvalidArgument, "expected no NUL in " + what + ", received one"};
}

Status WithSubject(const Status& status, const std::string& subject) {
  if (status.ok()) return {};
  return Status(status.code(), subject + ": " + status.message())
      .WithEngineCode(status.engine_code());
}

Status MakeSessionOptions(const Library& library, const SessionOptions& options,
                          SessionOptionsHandle* handle, SessionResources* resources) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  TENON_RETURN_IF_ERROR(check(api.CreateSessionOptions(Receiver(api, handle))));
  OrtSessionOptions* const session = handle->get();
  TENON_RETURN_IF_ERROR(SetThreads(library, options, session));
  TENON_RETURN_IF_ERROR(
      check(api.SetSessionGraphOptimizationLevel(session, options.graph_optimization_level)));
  TENON_RETURN_IF_ERROR(SetMemory(api, options, session));
  TENON_RETURN_IF_ERROR(SetLogging(api, options, session));
  TENON_RETURN_IF_ERROR(SetDimensions(api, options, session));
  if (options.deterministic) {
    TENON_RETURN_IF_ERROR(check(api.SetDeterministicCompute(session, true)));
  }
  // The engine says nothing of a profile it cannot write, and notices that the
  // optimized model has no place only when all the work is done.
  if (!options.optimized_model_path.empty()) {
    TENON_RETURN_IF_ERROR(CheckWritable("the optimized model", options.optimized_model_path));
    TENON_RETURN_IF_ERROR(
        WithSubject(check(api.SetOptimizedModelFilePath(
                        session, ToOrtPath(options.optimized_model_path).c_str())),
                    "optimized model"));
  }
  if (!options.profile_path.empty()) {
    TENON_RETURN_IF_ERROR(CheckWritable("the profile", options.profile_path));
    TENON_RETURN_IF_ERROR(WithSubject(
        check(api.EnableProfiling(session, ToOrtPath(options.profile_path).c_str())), "profiling"));
  }
  for (const auto& [key, value] : options.config_entries) {
    const std::string subject = "session config entry \"" + key + "\"";
    TENON_RETURN_IF_ERROR(CheckText(subject, key + value));
    TENON_RETURN_IF_ERROR(WithSubject(CheckSessionKey(library, key), subject));
    TENON_RETURN_IF_ERROR(WithSubject(
        check(api.AddSessionConfigEntry(session, key.c_str(), value.c_str())), subject));
  }
  for (const auto& [key, value] : options.run_config_entries) {
    const std::string subject = "run config entry \"" + key + "\"";
    TENON_RETURN_IF_ERROR(CheckText(subject, key + value));
    TENON_RETURN_IF_ERROR(WithSubject(CheckRunKey(library, key), subject));
  }
  for (const std::string& path : options.custom_op_libraries) {
    TENON_RETURN_IF_ERROR(WithSubject(
        TakeStatus(api, api.RegisterCustomOpsLibrary_V2(session, ToOrtPath(path).c_str()),
                   StatusCode::kEngineLoad),
        "custom operator library \"" + path + "\""));
  }
  TENON_RETURN_IF_ERROR(AddWeights(library, options, session, &resources->weights));
  TENON_RETURN_IF_ERROR(OpenLoraAdapters(library, options, &resources->lora_adapters));
  if (!options.weight_group.empty()) {
    auto group = WeightGroup::Named(library, options.weight_group);
    if (!group.ok()) return group.status();
    resources->weight_group = *group;
  }
  return {};
}

}  // namespace tenon::onnxruntime
