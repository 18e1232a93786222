#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "engines/engine.h"
#include "engines/session.h"

namespace tenon::onnxruntime {

// Where the model comes from: a file (which may have external data beside it),
// or bytes, which must stay as they are until CreateSession returns and, for
// the ORT format, as long as the session lives: so they are owned.
struct ModelSource {
  std::string path;  // UTF-8; empty when bytes are given
  std::shared_ptr<void> bytes_owner;
  const void* bytes = nullptr;
  size_t byte_length = 0;
};

struct ExecutionProvider {
  std::string name;  // "cpu", "cuda", "CUDAExecutionProvider" …
  std::vector<std::pair<std::string, std::string>> options;
};

struct SessionOptions {
  int intra_op_threads = 1;           // >= 1
  int inter_op_threads = 1;           // >= 1; more than 1 runs independent nodes side by side
  bool spin = false;                  // idle threads of the session's own pools spin
  int graph_optimization_level = 99;  // OrtGraphOptimizationLevel
  std::vector<ExecutionProvider> providers;  // in order of preference; CPU is always last
  std::vector<std::pair<std::string, std::string>> config_entries;
  std::vector<std::pair<std::string, int64_t>> free_dimension_overrides;  // by symbol
  std::vector<std::string> custom_op_libraries;                           // paths
};

// Process-wide settings, fixed by the first Open.
struct EnvironmentOptions {
  int log_severity = 3;    // OrtLoggingLevel: 0 verbose … 4 fatal; 3 is error
  bool telemetry = false;  // ONNX Runtime 1.29 and later would collect by default
};

// Opens the library at `path`, or returns the one already open. Fails with
// kEngineLoad (cannot be opened, or has no OrtGetApiBase), kEngineVersion
// (older than 1.17) or kEngineConflict (another path is open). Thread-safe.
Result<std::shared_ptr<Engine>> Open(const std::string& path, const EnvironmentOptions& options);

// Blocks for as long as the engine takes. `engine` is what Open returned.
Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options, CancelToken* cancel);

}  // namespace tenon::onnxruntime
