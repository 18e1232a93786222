#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/model_info.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/engine_session.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"
#include "engines/session.h"

namespace tenon::onnxruntime {

// A model loaded by ONNX Runtime. The engine's Run may be called from any
// number of threads, and nothing here changes after loading.
//
// Outputs may outlive the session: each holds its OrtValue, which holds the
// allocator it came from.
class OnnxSession : public Session {
 public:
  static Result<std::shared_ptr<OnnxSession>> Create(std::shared_ptr<Library> library,
                                                     const ModelSource& source,
                                                     const SessionOptions& options,
                                                     CancelToken* cancel);

  const ModelInfo& info() const override { return info_; }
  Result<std::vector<Value>> Run(const RunRequest& request) override;

 private:
  explicit OnnxSession(std::shared_ptr<Library> library) : library_(std::move(library)) {}

  Status Load(const ModelSource& source, const SessionOptions& options, CancelToken* cancel);
  Result<std::vector<Value>> RunChecked(const RunRequest& request);
  struct EngineCall;
  // Calls the engine, stoppable by `cancel`, which may be null.
  Status CallEngine(EngineCall* call, CancelToken* cancel);

  // The members are destroyed from the last to the first: the engine's session
  // goes before the library whose functions release it.
  const std::shared_ptr<Library> library_;
  EngineSession session_;
  // The names of the inputs and outputs that a run passes are those in info_.
  ModelInfo info_;
};

}  // namespace tenon::onnxruntime
