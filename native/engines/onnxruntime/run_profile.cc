#include "engines/onnxruntime/run_profile.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <system_error>

#include "engines/onnxruntime/options.h"
#include "engines/onnxruntime/status.h"
#include "engines/output_file.h"

namespace tenon::onnxruntime {
namespace {

std::filesystem::path ToPath(const std::string& text) {
  return std::filesystem::path(std::u8string(text.begin(), text.end()));
}

// Something no other run's file has in its name, in this process or another.
std::string Mark() {
  static std::atomic<uint64_t> runs{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string mark = std::to_string(now / std::chrono::microseconds(1));
  mark += '-';
  mark += std::to_string(++runs);
  return mark;
}

}  // namespace

Status RunProfile::Begin(const Library& library, const std::string& path, OrtRunOptions* options) {
  const Api& api = library.api();
  if (api.RunOptionsEnableProfiling == nullptr) {
    return {StatusCode::kUnsupported,
            "expected ONNX Runtime 1.25 or newer for the profile of one run, received " +
                library.version()};
  }
  // The engine says nothing of a profile it cannot write.
  TENON_RETURN_IF_ERROR(CheckWritable("the run's profile", path));
  const std::string prefix = path + '.' + Mark();
  TENON_RETURN_IF_ERROR(
      WithSubject(TakeStatus(api, api.RunOptionsEnableProfiling(options, ToOrtPath(prefix).c_str()),
                             StatusCode::kInvalidArgument),
                  "profiling"));
  path_ = path;
  prefix_ = ToPath(prefix).filename().string();
  return {};
}

RunProfile::~RunProfile() {
  if (path_.empty()) return;
  std::error_code error;
  std::filesystem::path folder = ToPath(path_).parent_path();
  if (folder.empty()) folder = ".";
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(prefix_)) continue;
    std::filesystem::rename(entry->path(), ToPath(path_), error);
    return;
  }
}

}  // namespace tenon::onnxruntime
