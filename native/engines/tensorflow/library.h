#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "engines/engine.h"
#include "engines/tensorflow/abi.h"

namespace tenon::tensorflow {

// An opened TensorFlow. Open (engine.h) keeps the process's one; what it calls
// underneath is Load, which registers nothing and so can be tested with fakes.
// Thread-safe.
class Library : public Engine {
 public:
  // Opens the library at `path`, checks its version and finds its functions.
  // The library stays mapped even where this fails.
  static Result<std::shared_ptr<Library>> Load(const std::string& path);

  // For Load, and for tests that take functions away from a real library.
  Library(const Api& api, std::string version, std::string path);

  // Devices are known from the first session on. Where there was none yet, this
  // makes one over an empty graph, with as many intra-op threads as the CPU
  // quota allows; TensorFlow keeps that pool for the rest of the process, whatever
  // later sessions ask for. So a process that wants another number loads its
  // first model before it asks, or leaves the asking to a child process. (There is
  // no cheaper way: every public call that lists devices starts them, and starting
  // the CPU device makes the pool.)
  Result<EngineDescription> Describe() override;

  const std::string& version() const override { return version_; }
  const std::string& path() const override { return path_; }
  const Api& api() const { return api_; }

  // Remembers the devices of the process's first session for Describe.
  void NoteDevices(TF_Session* session);

 private:
  Status StartDevices();

  const Api api_;
  const std::string version_;
  const std::string path_;
  std::mutex mutex_;  // guards devices_
  std::vector<std::string> devices_;
};

}  // namespace tenon::tensorflow
