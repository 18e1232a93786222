#include "engines/onnxruntime/session.h"

#include <utility>

#include "engines/onnxruntime/model_info.h"
#include "engines/onnxruntime/small_array.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {
namespace {

Status Aborted(const std::string& what) { return {StatusCode::kAborted, what}; }

}  // namespace

// The arrays that the engine's Run takes.
struct OnnxSession::EngineCall {
  EngineCall(size_t max_inputs, size_t output_count)
      : input_names(max_inputs),
        inputs(max_inputs),
        output_names(output_count),
        outputs(output_count) {}

  SmallArray<const char*> input_names;
  SmallArray<const OrtValue*> inputs;
  size_t input_count = 0;
  SmallArray<const char*> output_names;
  // Null before the call; what it makes is the caller's to release.
  SmallArray<OrtValue*> outputs;
};

Result<std::shared_ptr<OnnxSession>> OnnxSession::Create(std::shared_ptr<Library> library,
                                                         const ModelSource& source,
                                                         const SessionOptions& options,
                                                         CancelToken* cancel) {
  std::shared_ptr<OnnxSession> session(new OnnxSession(std::move(library)));
  TENON_RETURN_IF_ERROR(session->Load(source, options, cancel));
  return session;
}

Status OnnxSession::Load(const ModelSource& source, const SessionOptions& options,
                         CancelToken* cancel) {
  auto made = EngineSession::Create(*library_, source, options, cancel);
  if (!made.ok()) return made.status();
  session_ = std::move(*made);
  Result<ModelInfo> info = ReadModelInfo(*library_, session_.get());
  if (!info.ok()) return info.status();
  info_ = std::move(*info);
  info_.providers = session_.providers();
  info_.provider_fallbacks = session_.fallbacks();
  return {};
}

Result<std::vector<Value>> OnnxSession::Run(const RunRequest& request) {
  return CatchAll([&]() -> Result<std::vector<Value>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    if (request.cancel != nullptr && request.cancel->cancelled()) {
      return Aborted("the run was cancelled before it began");
    }
    // The engine refuses a run that is to compute nothing.
    if (request.outputs.empty()) return std::vector<Value>{};
    return RunChecked(request);
  });
}

Result<std::vector<Value>> OnnxSession::RunChecked(const RunRequest& request) {
  const Api& api = library_->api();
  const Signature& signature = info_.signatures[request.signature];

  std::vector<std::shared_ptr<void>> copies;
  SmallArray<ValueHandle> feeds(request.feeds.size());
  EngineCall call(request.feeds.size(), request.outputs.size());
  for (size_t i = 0; i < request.feeds.size(); ++i) {
    // An absent optional is an input that is not fed: the engine refuses a null,
    // and a value of its own without content crashes it.
    if (request.feeds[i].kind == Value::Kind::kNone) continue;
    const std::string& name = signature.inputs[request.inputs[i]].name;
    TENON_RETURN_IF_ERROR(MakeFeed(*library_, request.feeds[i], name, &copies, &feeds[i]));
    call.input_names[call.input_count] = name.c_str();
    call.inputs[call.input_count++] = feeds[i].get();
  }
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    call.output_names[i] = signature.outputs[request.outputs[i]].name.c_str();
  }

  SmallArray<ValueHandle> handles(request.outputs.size());
  const Status status = CallEngine(&call, request.cancel);
  // Owned before anything can return: a failed run may have made some of them.
  for (size_t i = 0; i < handles.size(); ++i) {
    handles[i] = ValueHandle(call.outputs[i], Releaser<&Api::ReleaseValue>{&api});
  }
  TENON_RETURN_IF_ERROR(status);

  std::vector<Value> outputs;
  outputs.reserve(handles.size());
  for (size_t i = 0; i < handles.size(); ++i) {
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    auto taken =
        TakeOutput(*library_, std::move(handles[i]), spec.name, session_.may_be_on_device());
    if (!taken.ok()) return taken.status();
    if (taken->kind == Value::Kind::kNone && spec.kind != ValueSpec::Kind::kOptional) {
      return Status(StatusCode::kRun,
                    "expected a value for output \"" + spec.name + "\", received none");
    }
    outputs.push_back(std::move(*taken));
  }
  TENON_RETURN_IF_ERROR(SeparateOutputs(request.feeds, &outputs));
  return outputs;
}

Status OnnxSession::CallEngine(EngineCall* call, CancelToken* cancel) {
  const Api& api = library_->api();
  const auto run = [&](const OrtRunOptions* options) {
    return TakeStatus(api,
                      api.Run(session_.get(), options, call->input_names.data(),
                              call->inputs.data(), call->input_count, call->output_names.data(),
                              call->output_names.size(), call->outputs.data()),
                      StatusCode::kRun);
  };
  if (cancel == nullptr && !session_.has_run_defaults()) return run(nullptr);

  // Fresh for each run: once told to terminate, options stay so.
  RunOptionsHandle options;
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.CreateRunOptions(Receiver(api, &options)), StatusCode::kRun));
  TENON_RETURN_IF_ERROR(session_.ApplyRunDefaults(options.get()));
  Status status;
  {
    OrtRunOptions* const stopped = options.get();
    const CancelToken::Scope scope(cancel, [&api, stopped] {
      StatusHandle(api.RunOptionsSetTerminate(stopped), {&api}).reset();
    });
    status = run(options.get());
  }
  if (!status.ok() && cancel != nullptr && cancel->cancelled()) {
    return Status(StatusCode::kAborted, status.message()).WithEngineCode(status.engine_code());
  }
  return status;
}

Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options, CancelToken* cancel) {
  return CatchAll([&]() -> Result<std::shared_ptr<Session>> {
    auto session =
        OnnxSession::Create(std::static_pointer_cast<Library>(engine), source, options, cancel);
    if (!session.ok()) return session.status();
    return std::shared_ptr<Session>(std::move(*session));
  });
}

}  // namespace tenon::onnxruntime
