#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/session.h"
#include "engines/onnxruntime/tensor.h"
#include "engines/session.h"

namespace tenon::onnxruntime {

// A run whose engine values are made once, over the memory of feeds and targets.
//
// Strings, and sequences and maps where the engine copies their items, are read
// when the run is bound: what they held then is fed each time.
//
// Of a session on a device the engine brings outputs to their targets, and of
// those it compares no more than the bytes.
class OnnxBoundRun : public BoundRun {
 public:
  // `request` was checked.
  static Result<std::unique_ptr<BoundRun>> Create(std::shared_ptr<OnnxSession> session,
                                                  const RunRequest& request);

  Status Run(CancelToken* cancel) override;

 private:
  // Bytes that go from one place to another at each run.
  struct Transfer {
    const void* from;
    void* to;
    size_t byte_length;
  };

  OnnxBoundRun(std::shared_ptr<OnnxSession> session, const RunRequest& request);

  Status PrepareFeeds();
  Status PrepareTargets();
  Status HandBack(const Value& feed, const Tensor& target, const ValueSpec& spec);
  Status MakeBinding();
  Status BindOutputs();
  OrtStatus* CallEngine(const OrtRunOptions* options);
  Status Fail(Status status, CancelToken* cancel);

  // The members are destroyed from the last to the first: what refers to the
  // memory of the request goes before it, and everything before the session.
  const std::shared_ptr<OnnxSession> session_;
  // Keeps the memory of feeds and targets, and the tensors of the engine.
  RunRequest request_;
  FeedContext context_;
  // Copies of tensors that are handed back from a device.
  std::vector<Tensor> fetched_;
  std::vector<Transfer> before_;
  std::vector<Transfer> after_;
  std::vector<ValueHandle> made_;
  // What the engine is called with; the names are the session's.
  std::vector<const char*> input_names_;
  std::vector<const OrtValue*> inputs_;
  std::vector<const char*> output_names_;
  std::vector<OrtValue*> outputs_;
  // Null where LoRA adapters are used, and where the session may be on a device: a
  // binding would take the feeds there when they are bound, and not see what is
  // written to them later.
  IoBindingHandle binding_;
};

}  // namespace tenon::onnxruntime
