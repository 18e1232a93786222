#include "engines/onnxruntime/options.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "engines/onnxruntime/providers.h"
#include "engines/onnxruntime/status.h"

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

// The engine's words after what was being set, which they often leave out.
Status WithSubject(const Status& status, const std::string& subject) {
  if (status.ok()) return {};
  return Status(status.code(), subject + ": " + status.message())
      .WithEngineCode(status.engine_code());
}

}  // namespace

std::basic_string<OrtPathChar> ToOrtPath(const std::string& path) {
#ifdef _WIN32
  return std::filesystem::path(std::u8string(path.begin(), path.end())).native();
#else
  return path;
#endif
}

Status MakeSessionOptions(const Library& library, const SessionOptions& options,
                          SessionOptionsHandle* handle) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  TENON_RETURN_IF_ERROR(CheckThreads("intraOp threads", options.intra_op_threads));
  TENON_RETURN_IF_ERROR(CheckThreads("interOp threads", options.inter_op_threads));

  TENON_RETURN_IF_ERROR(check(api.CreateSessionOptions(Receiver(api, handle))));
  OrtSessionOptions* const session = handle->get();
  const bool parallel = options.inter_op_threads > 1;
  TENON_RETURN_IF_ERROR(check(api.SetIntraOpNumThreads(session, options.intra_op_threads)));
  TENON_RETURN_IF_ERROR(check(api.SetInterOpNumThreads(session, options.inter_op_threads)));
  TENON_RETURN_IF_ERROR(
      check(api.SetSessionExecutionMode(session, parallel ? kOrtParallel : kOrtSequential)));
  TENON_RETURN_IF_ERROR(
      check(api.SetSessionGraphOptimizationLevel(session, options.graph_optimization_level)));

  for (const char* key : {kIntraOpSpinning, kInterOpSpinning}) {
    if (HasEntry(options, key)) continue;
    TENON_RETURN_IF_ERROR(check(api.AddSessionConfigEntry(session, key, options.spin ? "1" : "0")));
  }
  for (const auto& [key, value] : options.config_entries) {
    TENON_RETURN_IF_ERROR(
        WithSubject(check(api.AddSessionConfigEntry(session, key.c_str(), value.c_str())),
                    "session config entry \"" + key + "\""));
  }
  for (const auto& [name, size] : options.free_dimension_overrides) {
    if (size < 0) {
      return {StatusCode::kInvalidArgument, "expected a size of at least 0 for dimension \"" +
                                                name + "\", received " + std::to_string(size)};
    }
    TENON_RETURN_IF_ERROR(
        WithSubject(check(api.AddFreeDimensionOverrideByName(session, name.c_str(), size)),
                    "free dimension \"" + name + "\""));
  }
  for (const std::string& path : options.custom_op_libraries) {
    TENON_RETURN_IF_ERROR(WithSubject(
        TakeStatus(api, api.RegisterCustomOpsLibrary_V2(session, ToOrtPath(path).c_str()),
                   StatusCode::kEngineLoad),
        "custom operator library \"" + path + "\""));
  }
  for (const ExecutionProvider& provider : options.providers) {
    TENON_RETURN_IF_ERROR(WithSubject(AppendProvider(library, provider, session),
                                      "execution provider \"" + provider.name + "\""));
  }
  return {};
}

}  // namespace tenon::onnxruntime
