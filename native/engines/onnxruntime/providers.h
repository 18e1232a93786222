#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// The full name among `available` that `name` means: itself in any case, or
// without its ending ("cuda", "CUDA", "CUDAExecutionProvider"). Empty where
// there is none.
std::string FindProvider(std::string_view name, const std::vector<std::string>& available);

bool IsCpuProvider(std::string_view name);

// Appends `provider` to the session options, by its name or by its devices; the CPU, always there
// and always last, only takes its option "use_arena" ("0" or "1"). Fails with kProvider, naming
// what the library has.
Status AppendProvider(const Library& library, const ExecutionProvider& provider,
                      OrtSessionOptions* options);

// True where what such a session does on its device takes turns with others (device_turn.h).
bool TakesTurns(const SessionOptions& options);

// True where all of a session's memory is the CPU's.
bool RunsOnCpuOnly(const SessionOptions& options);

}  // namespace tenon::onnxruntime
