#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::bench {

// One caller's prepared call: names are cached and values built, so that Run
// costs what the engine costs and nothing else. Used by one thread at a time.
class Call {
 public:
  virtual ~Call() = default;
  virtual void Run() = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  // Null for a mode this engine has not. "run": the engine allocates the
  // outputs, which are freed after each call.
  virtual std::unique_ptr<Call> Prepare(std::string_view mode) = 0;
  // Sizes for the dimensions the model leaves open, in order of appearance; the
  // last one serves for all that follow. For calls that are prepared from now on.
  virtual void SetOpenDimensions(const std::vector<int64_t>& sizes) = 0;
};

struct OnnxOptions {
  std::string library;
  int intra_op_threads = 1;
  bool spin = false;
  std::vector<int64_t> open_dimensions;  // as for SetOpenDimensions
  std::string path;
};

struct TensorFlowOptions {
  std::string library;
  int intra_op_threads = 1;
  // Negative: operations run on the calling thread, not in the engine's pool.
  int inter_op_threads = 1;
  std::string folder;
  // Operations, fed and read at their output 0.
  std::string input;
  std::string output;
};

// Throws std::runtime_error with the engine's own text.
std::unique_ptr<Model> LoadOnnx(const OnnxOptions& options);
std::unique_ptr<Model> LoadTensorFlow(const TensorFlowOptions& options);

}  // namespace tenon::bench
