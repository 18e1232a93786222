#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/status.h"

namespace tenon {

// What an opened engine says of itself.
struct EngineDescription {
  std::string name;                    // "onnxruntime", "tensorflow"
  std::string version;                 // "1.30.0"
  std::string path;                    // the library file that was opened
  std::vector<std::string> providers;  // ONNX Runtime: "CPUExecutionProvider" …; TensorFlow: empty
  std::vector<std::string> devices;  // TensorFlow: "/device:CPU:0" …; ONNX Runtime where it tells
};

// An engine's library, opened once for the process and never closed: both
// engines leave threads and static state behind that do not survive a dlclose.
class Engine {
 public:
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // May take a while (TensorFlow starts its devices): not for the event loop.
  virtual Result<EngineDescription> Describe() = 0;
  virtual const std::string& version() const = 0;
  virtual const std::string& path() const = 0;

 protected:
  Engine() = default;
};

}  // namespace tenon
