#pragma once

#include <string>

#include "core/status.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// The profile of one run, for as long as that lasts. The engine writes it under a
// name of its own making and does not tell which; the end of this gives the file
// the name that was asked for. Where that cannot be had, the engine's stays.
class RunProfile {
 public:
  RunProfile() = default;
  RunProfile(const RunProfile&) = delete;
  RunProfile& operator=(const RunProfile&) = delete;
  ~RunProfile();

  // Has a run with these options write one to `path`. Fails with kInvalidArgument
  // where nothing can be written there, and with kUnsupported.
  Status Begin(const Library& library, const std::string& path, OrtRunOptions* options);

 private:
  std::string path_;
  std::string prefix_;
};

}  // namespace tenon::onnxruntime
