#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/model_info.h"
#include "core/shape.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/engine_session.h"
#include "engines/onnxruntime/expected_shape.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"
#include "engines/onnxruntime/run_profile.h"
#include "engines/onnxruntime/status.h"
#include "engines/session.h"

namespace tenon::onnxruntime {

// A model loaded by ONNX Runtime. The engine's Run may be called from any
// number of threads, or by one at a time on a device that takes turns, and nothing here changes
// after loading but what is known of the shapes of outputs.
//
// Outputs may outlive the session: each holds its OrtValue, which holds the
// allocator it came from.
class OnnxSession : public Session, public std::enable_shared_from_this<OnnxSession> {
 public:
  static Result<std::shared_ptr<OnnxSession>> Create(std::shared_ptr<Library> library,
                                                     const ModelSource& source,
                                                     const SessionOptions& options,
                                                     CancelToken* cancel);

  const ModelInfo& info() const override { return info_; }
  Result<std::vector<Value>> Run(const RunRequest& request) override;
  Result<std::unique_ptr<BoundRun>> Bind(const RunRequest& request) override;
  Result<std::string> EndProfiling() override;
  bool ExpectShapes(const RunRequest& request, std::vector<Shape>* shapes) const override;

  // What a bound run needs of its session.
  const Library& library() const { return *library_; }
  OrtSession* session() const { return session_.get(); }
  bool may_be_on_device() const { return session_.may_be_on_device(); }
  bool takes_turns() const { return session_.takes_turns(); }
  // The options of a request that was checked; null where it has none.
  static const RunOptions* OptionsOf(const RunRequest& request) {
    return static_cast<const RunOptions*>(request.options.get());
  }
  bool UsesAdapters(const RunOptions* own) const { return session_.UsesAdapters(own); }
  // Which of the feeds is handed back as this output, where one is.
  std::optional<size_t> FeedHandedBack(const RunRequest& request, size_t output) const;
  // Calls `run(options)`, which returns the engine's status, with what this run is
  // told and stoppable by `cancel`; both may be null.
  template <typename Call>
  Status CallEngine(const RunOptions* own, CancelToken* cancel, const Call& run) const {
    const Api& api = library_->api();
    if (own == nullptr && cancel == nullptr) {
      return TakeStatus(api, run(run_options_.get()), StatusCode::kRun);
    }
    // Fresh for each run: once told to terminate, options stay so.
    RunOptionsHandle options;
    TENON_RETURN_IF_ERROR(MakeRunOptions(own, &options));
    RunProfile profile;
    if (own != nullptr && !own->profile_path.empty()) {
      TENON_RETURN_IF_ERROR(profile.Begin(*library_, own->profile_path, options.get()));
    }
    Status status;
    {
      OrtRunOptions* const stopped = options.get();
      const CancelToken::Scope scope(cancel, [&api, stopped] {
        StatusHandle(api.RunOptionsSetTerminate(stopped), {&api}).reset();
      });
      status = TakeStatus(api, run(stopped), StatusCode::kRun);
    }
    if (status.ok() || cancel == nullptr || !cancel->cancelled()) return status;
    return Status(StatusCode::kAborted, status.message()).WithEngineCode(status.engine_code());
  }
  // `failed`, or kShape where it came of a target of another shape than the
  // output has, which a run without targets tells.
  Status ExplainFailure(const RunRequest& request, Status failed);

 private:
  struct Call;

  explicit OnnxSession(std::shared_ptr<Library> library) : library_(std::move(library)) {}

  Status Load(const ModelSource& source, const SessionOptions& options, CancelToken* cancel);
  void ReadOutputPlaces(size_t count);
  Status MakeRunOptions(const RunOptions* own, RunOptionsHandle* options) const;

  // `expect_shapes` allows small outputs to be given a place of the shape that is
  // expected of them.
  Result<std::vector<Value>> RunChecked(const RunRequest& request, bool expect_shapes);
  Status PrepareFeeds(const RunRequest& request, Call* call);
  Status PrepareTargets(const RunRequest& request, Call* call);
  Status PrepareExpected(const RunRequest& request, Call* call, std::vector<Value>* outputs,
                         bool* expected);
  // The device that output `i` of the request is left on by the run; null where
  // it is in host memory when the run is over.
  const OrtMemoryInfo* DeviceOf(const RunRequest& request, size_t i) const;
  // Whether the engine itself writes output `i` into its target.
  bool GoesStraightInto(const RunRequest& request, size_t i) const;
  bool LeavesOutputsOnDevice(const RunRequest& request) const;
  Status RunLeavingOutputsOnDevice(const RunRequest& request, Call* call);
  Status TakeOutputs(const RunRequest& request, Call* call, std::vector<Value>* outputs);
  // The rest of an output whose place was given: its bytes, where the engine did
  // not write them there.
  Status FillTarget(const RunRequest& request, const ValueSpec& spec, Call* call, size_t output);
  Status KeepInEngine(const RunRequest& request, const ValueSpec& spec, Call* call,
                      ValueHandle handle, Value* output);

  // The members are destroyed from the last to the first: the engine's session
  // goes before the library whose functions release it.
  const std::shared_ptr<Library> library_;
  EngineSession session_;
  std::mutex profile_mutex_;
  // For the runs that nobody can stop, which all use the same.
  RunOptionsHandle run_options_;
  // The names of the inputs and outputs that a run passes are those in info_.
  ModelInfo info_;
  // For each output the input of the same name: the engine hands a feed of it
  // back as it is. Empty where the model has no such output.
  std::vector<std::optional<size_t>> same_as_input_;
  // Where the engine makes each output, null for host memory; empty where all
  // are there. The engine's session owns them.
  std::vector<const OrtMemoryInfo*> output_places_;
  // Of each output; null where the session may be on a device.
  std::unique_ptr<ExpectedShape[]> expected_;
};

// The error of an output that has another shape than the tensor it was to go into.
Status WrongShape(const std::string& name, const std::string& expected, const Shape& received);

// kShape where no output of `spec` can have that shape.
Status CheckDeclaredShape(const ValueSpec& spec, const Shape& shape);

}  // namespace tenon::onnxruntime
