#pragma once

#include <cstddef>
#include <vector>

#include "core/cancel.h"
#include "core/model_info.h"
#include "core/status.h"
#include "core/value.h"

namespace tenon {

// One call of a model. Everything in it is owned by the caller and outlives the
// call; the memory of a feed must not change while the run lasts.
struct RunRequest {
  size_t signature = 0;         // index into ModelInfo::signatures
  std::vector<size_t> inputs;   // which inputs are fed: indices into the signature's inputs
  std::vector<Value> feeds;     // one for each of `inputs`
  std::vector<size_t> outputs;  // which outputs to compute, in this order
  CancelToken* cancel = nullptr;
};

// A loaded model. The contract of both engines.
//
// Run blocks, never touches JavaScript, and may be called from any number of
// threads at once. A session checks for itself whatever its engine would crash
// on (indices, dtypes, byte lengths, absent values); friendly checks with names
// in their messages were made before.
class Session {
 public:
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Does not change once the session exists.
  virtual const ModelInfo& info() const = 0;

  // Outputs come in the order of request.outputs, each with its own memory
  // (see Tensor::exclusive).
  virtual Result<std::vector<Value>> Run(const RunRequest& request) = 0;

 protected:
  Session() = default;
};

// The checks both engines need before they touch a request: indices in range,
// one feed an input, dtypes equal to the declared ones, byte lengths and string
// counts that fit the shapes, no null data. Shapes are not compared with the
// declared ones.
Status CheckRequest(const ModelInfo& info, const RunRequest& request);

}  // namespace tenon
