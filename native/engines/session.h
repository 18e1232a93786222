#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/model_info.h"
#include "core/shape.h"
#include "core/status.h"
#include "core/value.h"

namespace tenon {

// Where an output goes.
struct OutputTarget {
  enum class Kind : uint8_t {
    kHost,    // into host memory of its own
    kEngine,  // nowhere: it stays in the engine, as an EngineTensor
    kInto,    // into `into`, whose dtype and shape it must have
  };
  Kind kind = Kind::kHost;
  Tensor into;
};

// What one run is told in the options of its own engine, which has a type for them
// (RunOptions in each engine's engine.h). Does not change once a run has it.
struct EngineRunOptions {
  virtual ~EngineRunOptions() = default;
};

// One call of a model. Everything in it is owned by the caller and outlives the
// call; the memory of a feed must not change while the run lasts.
struct RunRequest {
  size_t signature = 0;               // index into ModelInfo::signatures
  std::vector<size_t> inputs;         // which inputs are fed: indices into the signature's inputs
  std::vector<Value> feeds;           // one for each of `inputs`
  std::vector<size_t> outputs;        // which outputs to compute, in this order
  std::vector<OutputTarget> targets;  // one for each of `outputs`; empty: all go to host memory
  CancelToken* cancel = nullptr;
  // Null where the run has none. Those of another engine are kInvalidArgument.
  std::shared_ptr<const EngineRunOptions> options;
  // Where it is not null, an engine adds the bytes of feeds and outputs it copies
  // between host buffers (never those that cross from or to a device).
  std::atomic<uint64_t>* copied_bytes = nullptr;
};

// A call whose names, checks, values and buffers are settled once, see Session::Bind.
// One run at a time; feeds are read and outputs written in place at each.
class BoundRun {
 public:
  virtual ~BoundRun() = default;
  BoundRun(const BoundRun&) = delete;
  BoundRun& operator=(const BoundRun&) = delete;

  // Blocks. `cancel` may be null.
  virtual Status Run(CancelToken* cancel) = 0;

 protected:
  BoundRun() = default;
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
  // (see Tensor::exclusive). An output that went into a target's tensor comes
  // back as that tensor. Fails with kShape where an output does not have the
  // shape of the tensor it was to go into.
  virtual Result<std::vector<Value>> Run(const RunRequest& request) = 0;

  // The call of `request`, every output of which has a target kInto, to be made
  // many times, each time with its options. Keeps the memory of feeds and targets;
  // their contents may change between runs, and an EngineTensor is fed as it is.
  virtual Result<std::unique_ptr<BoundRun>> Bind(const RunRequest& request) = 0;

  // Ends the profile that the session was loaded to make, and gives its file, which
  // is complete then; again, gives the same. kUnsupported where there is none.
  virtual Result<std::string> EndProfiling() {
    return Status(StatusCode::kUnsupported, "expected a model loaded with profiling");
  }

  // The shapes that the outputs of `request`, which has run, will have, where they are known before
  // a run: a call of it may then be bound to tensors of these shapes, and where it fails with
  // kShape all the same, it may be made again. False where they are not known.
  virtual bool ExpectShapes(const RunRequest& request, std::vector<Shape>* shapes) const {
    (void)request;
    (void)shapes;
    return false;
  }

 protected:
  Session() = default;
};

// The checks both engines need before they touch a request: indices in range,
// one feed an input, as many targets as outputs or none, dtypes equal to the declared ones, byte
// lengths and string counts that fit the shapes, no null data. Shapes are not compared with the
// declared ones.
Status CheckRequest(const ModelInfo& info, const RunRequest& request);

}  // namespace tenon
