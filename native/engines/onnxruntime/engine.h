#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/engine.h"
#include "engines/log_sink.h"
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
  // Which of the provider's devices to use, as indices among those that
  // ListDevices names for it; empty: whatever the provider takes by itself.
  std::vector<size_t> devices;
};

// Bytes that stay as they are as long as they are owned.
struct OwnedBytes {
  std::shared_ptr<void> owner;
  const void* data = nullptr;
  size_t byte_length = 0;
};

// A LoRA adapter's file (onnx_adapter), or its bytes where there is no path.
struct LoraAdapter {
  std::string name;  // what runs call it
  std::string path;
  OwnedBytes bytes;
};

struct SessionOptions {
  // Threads of the session's own pools. Where it runs on the process's pools
  // these three say nothing.
  int intra_op_threads = 1;  // >= 1
  int inter_op_threads = 1;  // >= 1; more than 1 runs independent nodes side by side
  bool spin = false;         // idle threads of the session's own pools spin
  // Whether the session runs on the process's pools (EnvironmentOptions::
  // global_pools); unset: it does where there are such pools.
  std::optional<bool> shared_threads;

  int graph_optimization_level = 99;  // OrtGraphOptimizationLevel
  std::string optimized_model_path;   // where the optimized model is written; may be empty
  bool cpu_arena = true;
  bool memory_pattern = true;
  bool deterministic = false;
  // The profile's file, written when the session ends; may be empty.
  std::string profile_path;
  std::optional<int> log_severity;  // unset: the environment's
  int log_verbosity = 0;            // of severity verbose only
  std::string log_id;

  std::vector<ExecutionProvider> providers;  // in order of preference; CPU is always last
  // One that cannot start is left out and noted, instead of failing the load.
  bool allow_provider_fallback = false;

  std::vector<std::pair<std::string, std::string>> config_entries;
  std::vector<std::pair<std::string, int64_t>> free_dimension_overrides;  // by symbol
  std::vector<std::pair<std::string, int64_t>> free_denotation_overrides;
  std::vector<std::string> custom_op_libraries;  // paths

  // Weights from elsewhere than the model's file. Their memory is used where it
  // lies, by every session it is given to.
  std::vector<std::pair<std::string, Tensor>> initializers;           // instead of the model's own
  std::vector<std::pair<std::string, Tensor>> external_initializers;  // that it says are elsewhere
  std::vector<std::pair<std::string, OwnedBytes>> external_files;     // by the name the model has
  // Sessions of one group share what kernels make of their weights; "" for none.
  std::string weight_group;

  std::vector<LoraAdapter> lora_adapters;
  // What holds for every run.
  std::vector<std::string> active_lora_adapters;  // names of lora_adapters
  std::vector<std::pair<std::string, std::string>> run_config_entries;
};

// What one run is told, or each run of a binding, in place of what its session
// has for every run.
struct RunOptions : EngineRunOptions {
  std::vector<std::pair<std::string, std::string>> config_entries;  // key by key
  std::optional<std::vector<std::string>> lora_adapters;            // all that are active, by name
  std::optional<int> log_severity;
  std::optional<int> log_verbosity;  // of severity verbose only
  std::string tag;                   // what the run's records are marked with
  // The profile of the run alone, there when it has ended; may be empty. 1.25 and later.
  std::string profile_path;
};

// Thread pools of the process, for the sessions that have none of their own.
struct ThreadPools {
  int intra_op_threads = 1;  // >= 1
  int inter_op_threads = 1;  // >= 1
  bool spin = false;
  std::string affinity;  // as session.intra_op_thread_affinities; may be empty
  bool denormal_as_zero = false;

  bool operator==(const ThreadPools&) const = default;
};

// Process-wide settings. What is not set here is nobody's wish: it becomes the
// default, and what has been fixed already stays.
struct EnvironmentOptions {
  std::optional<int> log_severity;          // OrtLoggingLevel: 0 verbose … 4 fatal; default 4
  std::optional<bool> telemetry;            // default false: 1.29 and later would collect
  std::optional<ThreadPools> global_pools;  // default: none
  // Where the engine's log goes instead of stderr. Must live as long as the process.
  std::optional<LogSink*> log_sink;
  // Libraries of providers that are not built in, by the name they are registered under.
  std::vector<std::pair<std::string, std::string>> provider_libraries;
};

// Settings for the Open that makes the environment. Once it is made, one that
// differs from what is in force is kConfigure, and nothing changes; provider
// libraries alone may still be added. Thread-safe.
Status Configure(const EnvironmentOptions& options);

// A device that a provider can use (ONNX Runtime 1.22 and later).
struct Device {
  std::string provider;         // "CUDAExecutionProvider" …
  std::string provider_vendor;  // "Microsoft" …
  std::string type;             // "cpu", "gpu" or "npu"
  std::string vendor;           // of the hardware
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<std::pair<std::string, std::string>> options;  // the provider's defaults
};

// Opens the library at `path`, or returns the one already open, after
// Configure(options). Fails with kEngineLoad (cannot be opened, or has no
// OrtGetApiBase), kEngineVersion (older than 1.17), kEngineConflict (another path
// is open), kConfigure or kProvider (a provider library). Thread-safe.
Result<std::shared_ptr<Engine>> Open(const std::string& path,
                                     const EnvironmentOptions& options = {});

// In the engine's order. Fails with kUnsupported before 1.22.
Result<std::vector<Device>> ListDevices(const std::shared_ptr<Engine>& engine);

// Blocks for as long as the engine takes. `engine` is what Open returned.
Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options, CancelToken* cancel);

}  // namespace tenon::onnxruntime
