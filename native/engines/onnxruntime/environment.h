#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/engine.h"

namespace tenon::onnxruntime {

// EnvironmentOptions with everything decided.
struct ProcessSettings {
  int log_severity = 4;
  bool telemetry = false;
  std::optional<ThreadPools> global_pools;
  LogSink* log_sink = nullptr;
};

// The settings in force. From now on they are fixed, until Unfix.
ProcessSettings FixSettings();
// For an environment that could not be made after all.
void UnfixSettings();

// Makes the engine's environment after FixSettings. The engine keeps one for
// the process, however often it is asked.
Status MakeEnvironment(const Api& api, const ProcessSettings& settings, OrtEnv** env);

// Registers those provider libraries of Configure that are not registered yet.
// Not for two threads at once.
Status RegisterProviderLibraries(const Api& api, OrtEnv* env);

}  // namespace tenon::onnxruntime
