#include "engines/onnxruntime/session.h"

#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "engines/onnxruntime/model_info.h"
#include "engines/onnxruntime/options.h"
#include "engines/onnxruntime/providers.h"
#include "engines/onnxruntime/small_array.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {
namespace {

// With this entry a model in the ORT format is used where it lies, instead of
// being copied: the session then refers to the bytes as long as it lives.
constexpr std::string_view kUseBytesDirectly = "session.use_ort_model_bytes_directly";

bool UsesBytesDirectly(const SessionOptions& options) {
  for (const auto& [key, value] : options.config_entries) {
    if (key == kUseBytesDirectly && value == "1") return true;
  }
  return false;
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::path(std::u8string(path.begin(), path.end())),
                                 error);
}

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
  const Api& api = library_->api();
  if (source.path.empty() && source.byte_length == 0) {
    return {StatusCode::kModelInvalid, "expected a model of at least one byte, received none"};
  }
  if (cancel != nullptr && cancel->cancelled()) return Aborted("the load was cancelled");

  SessionOptionsHandle session_options;
  TENON_RETURN_IF_ERROR(MakeSessionOptions(*library_, options, &session_options));
  if (UsesBytesDirectly(options)) bytes_owner_ = source.bytes_owner;

  Status status;
  {
    // The flag is the options' own, which outlive the scope. A library that has
    // no such flag finishes its load, and the session is dropped below.
    OrtSessionOptions* const flagged = session_options.get();
    const bool can_stop = api.SessionOptionsSetLoadCancellationFlag != nullptr;
    const CancelToken::Scope scope(can_stop ? cancel : nullptr, [&api, flagged] {
      StatusHandle(api.SessionOptionsSetLoadCancellationFlag(flagged, true), {&api}).reset();
    });
    status = TakeLoadStatus(
        api, source.path.empty()
                 ? api.CreateSessionFromArray(library_->env(), source.bytes, source.byte_length,
                                              session_options.get(), Receiver(api, &session_))
                 : api.CreateSession(library_->env(), ToOrtPath(source.path).c_str(),
                                     session_options.get(), Receiver(api, &session_)));
  }
  if (cancel != nullptr && cancel->cancelled()) {
    return status.ok() ? Aborted("the load was cancelled")
                       : Status(StatusCode::kAborted, status.message())
                             .WithEngineCode(status.engine_code());
  }
  if (status.code() == StatusCode::kModelNotFound &&
      (source.path.empty() || FileExists(source.path))) {
    // The model is there; a file it names is not.
    return Status(StatusCode::kModelInvalid, status.message()).WithEngineCode(status.engine_code());
  }
  TENON_RETURN_IF_ERROR(status);

  may_be_on_device_ = !RunsOnCpuOnly(options);
  Result<ModelInfo> info = ReadModelInfo(*library_, session_.get());
  if (!info.ok()) return info.status();
  info_ = std::move(*info);
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
    auto taken = TakeOutput(*library_, std::move(handles[i]), spec.name, may_be_on_device_);
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
  if (cancel == nullptr) return run(nullptr);

  // Fresh for each run: once told to terminate, options stay so.
  RunOptionsHandle options;
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.CreateRunOptions(Receiver(api, &options)), StatusCode::kRun));
  Status status;
  {
    OrtRunOptions* const stopped = options.get();
    const CancelToken::Scope scope(cancel, [&api, stopped] {
      StatusHandle(api.RunOptionsSetTerminate(stopped), {&api}).reset();
    });
    status = run(options.get());
  }
  if (!status.ok() && cancel->cancelled()) {
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
