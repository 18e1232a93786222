#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "engines/engine.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/handles.h"
#include "platform/shared_library.h"

namespace tenon::onnxruntime {

// Sequences without items, by the engine's number of the dtype, each made when
// it is first asked for (empty_sequence.h).
struct EmptySequences {
  std::mutex mutex;
  std::array<ValueHandle, kElementTypeCount> by_type;
};

// An opened ONNX Runtime: its function table, its environment and what all
// sessions share.
//
// The one that Open registers lives until the process ends, and its environment
// with it: the engine's threads and static state do not survive a dlclose, and
// releasing the environment in a static destructor would race with sessions of
// other threads. So whatever points into it (Api, the allocator) never dangles.
class Library : public Engine {
 public:
  // Opens the library and checks that it is a supported ONNX Runtime. Makes no
  // environment and registers nothing: any number of libraries may be loaded.
  static Result<std::shared_ptr<Library>> Load(const std::string& path);

  // Once, before anything but its version and path is asked of it.
  Status CreateEnvironment();
  // Those of Configure that it does not have yet. Not for two threads at once.
  Status RegisterProviderLibraries();

  Result<EngineDescription> Describe() override;
  const std::string& version() const override { return version_; }
  const std::string& path() const override { return path_; }

  const Api& api() const { return api_; }
  const OrtApiBase* base() const { return base_; }
  OrtEnv* env() const { return env_; }
  // Whether the environment has thread pools that sessions can share.
  bool has_global_pools() const { return has_global_pools_; }

  // The engine's default CPU allocator; the engine owns it.
  OrtAllocator* allocator() const { return allocator_; }
  // Says of a buffer that it is ordinary memory.
  const OrtMemoryInfo* cpu_memory() const { return cpu_memory_.get(); }
  EmptySequences& empty_sequences() const { return empty_sequences_; }
  // Full names: "CPUExecutionProvider" …
  const std::vector<std::string>& providers() const { return providers_; }

 private:
  Library(std::string path, std::string version, const OrtApiBase* base, const Api& api, int minor)
      : path_(std::move(path)),
        version_(std::move(version)),
        base_(base),
        api_(api),
        minor_(minor) {}

  Status ReadProviders();

  const std::string path_;
  const std::string version_;
  const OrtApiBase* const base_;
  const Api api_;
  const int minor_;
  OrtEnv* env_ = nullptr;  // never released, see above
  bool has_global_pools_ = false;
  OrtAllocator* allocator_ = nullptr;
  MemoryInfoHandle cpu_memory_;
  mutable EmptySequences empty_sequences_;
  std::vector<std::string> providers_;
};

}  // namespace tenon::onnxruntime
