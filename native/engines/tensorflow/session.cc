#include "engines/tensorflow/session.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engines/tensorflow/config.h"
#include "engines/tensorflow/graph_check.h"
#include "engines/tensorflow/guard.h"
#include "engines/tensorflow/tensor.h"

namespace tenon::tensorflow {
namespace {

struct TensorName {
  std::string operation;
  int index = 0;
};

// "op:index". TensorFlow writes a first output as "op", too.
std::optional<TensorName> ParseTensorName(const std::string& text) {
  const size_t colon = text.rfind(':');
  TensorName name{text.substr(0, colon)};
  if (name.operation.empty() || name.operation.front() == '^' ||
      name.operation.find('\0') != std::string::npos) {
    return std::nullopt;
  }
  if (colon == std::string::npos) return name;
  const char* first = text.data() + colon + 1;
  const char* last = text.data() + text.size();
  if (first == last || *first < '0' || *first > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(first, last, name.index);
  if (error != std::errc() || end != last) return std::nullopt;
  return name;
}

// The engine's number for "not there" covers a folder, a tag, an operation and
// a checkpoint; only its text tells which.
StatusCode SavedModelError(const CallStatus& status) {
  const Status plain = status.ToStatus(StatusCode::kModelInvalid);
  if (plain.engine_code() != TF_NOT_FOUND) return StatusCode::kModelInvalid;
  const auto says = [&plain](std::string_view words) {
    return plain.message().find(words) != std::string::npos;
  };
  if (says("matching supplied tags")) return StatusCode::kUnknownTag;
  if (says("Could not find SavedModel")) return StatusCode::kModelNotFound;
  return StatusCode::kModelInvalid;
}

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }

// What crosses the C API as a C string must not end early.
Status CheckStrings(const ModelSource& source, const SessionOptions& options) {
  if (HasNul(source.saved_model) || HasNul(source.frozen_graph)) {
    return {StatusCode::kModelNotFound, "expected a model's path, received one with a NUL in it"};
  }
  for (const std::string& tag : source.tags) {
    if (HasNul(tag))
      return {StatusCode::kUnknownTag, "expected a tag, received one with a NUL in it"};
  }
  for (const std::string& path : options.op_libraries) {
    if (HasNul(path)) {
      return {StatusCode::kEngineLoad,
              "expected an op library's path, received one with a NUL in it"};
    }
  }
  return {};
}

}  // namespace

TensorFlowSession::TensorFlowSession(std::shared_ptr<Library> library)
    : library_(std::move(library)),
      api_(library_->api()),
      graph_(api_.TF_NewGraph(), api_.TF_DeleteGraph) {}

TensorFlowSession::~TensorFlowSession() {
  if (session_ == nullptr) return;
  // Nobody is left to tell of a failure, and deletion frees everything regardless.
  CallStatus status(api_);
  api_.TF_CloseSession(session_, status.get());
  api_.TF_DeleteSession(session_, status.get());
}

Result<std::shared_ptr<Session>> TensorFlowSession::Load(std::shared_ptr<Library> library,
                                                         const ModelSource& source,
                                                         const SessionOptions& options) {
  TENON_RETURN_IF_ERROR(CheckStrings(source, options));
  if (options.intra_op_threads < 1 || options.inter_op_threads < 1) {
    return Status(StatusCode::kInvalidArgument,
                  "expected at least one intra-op and one inter-op thread, received " +
                      std::to_string(options.intra_op_threads) + " and " +
                      std::to_string(options.inter_op_threads));
  }
  if (source.signatures.empty()) {
    return Status(StatusCode::kModelInvalid, "expected a model with at least one signature");
  }

  const std::shared_ptr<TensorFlowSession> session(new TensorFlowSession(std::move(library)));
  const Api& api = session->api_;
  const Handle<TF_SessionOptions> engine_options(api.TF_NewSessionOptions(),
                                                 api.TF_DeleteSessionOptions);
  const std::string config = SerializeConfig(options);
  CallStatus status(api);
  api.TF_SetConfig(engine_options.get(), config.data(), config.size(), status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kInvalidArgument));

  TENON_RETURN_IF_ERROR(session->LoadOpLibraries(options.op_libraries));
  TENON_RETURN_IF_ERROR(source.frozen_graph.empty()
                            ? session->LoadSavedModel(source, engine_options.get())
                            : session->LoadFrozenGraph(source.frozen_graph, engine_options.get()));
  session->library_->NoteDevices(session->session_);
  TENON_RETURN_IF_ERROR(session->Resolve(source));
  return std::shared_ptr<Session>(session);
}

// Operations are registered for the whole process, and TensorFlow registers
// those of one library once however often it is asked.
Status TensorFlowSession::LoadOpLibraries(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    CallStatus status(api_);
    const Handle<TF_Library> library(api_.TF_LoadLibrary(path.c_str(), status.get()),
                                     api_.TF_DeleteLibraryHandle);  // does not unload it
    TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kEngineLoad));
  }
  return {};
}

Status TensorFlowSession::LoadSavedModel(const ModelSource& source,
                                         const TF_SessionOptions* options) {
  {
    // TensorFlow looks for this file alone before it looks for a textual one.
    const auto bytes = ReadMessageFile(source.saved_model + "/saved_model.pb");
    if (!bytes.ok()) return bytes.status();
    TENON_RETURN_IF_ERROR(CheckSavedModel(bytes.value()));
  }
  std::vector<const char*> tags;
  for (const std::string& tag : source.tags) tags.push_back(tag.c_str());
  CallStatus status(api_);
  session_ = api_.TF_LoadSessionFromSavedModel(
      options, /*run_options=*/nullptr, source.saved_model.c_str(), tags.data(),
      static_cast<int>(tags.size()), graph_.get(), /*meta_graph_def=*/nullptr, status.get());
  return status.ToStatus(SavedModelError(status));
}

Status TensorFlowSession::LoadFrozenGraph(const std::string& path,
                                          const TF_SessionOptions* options) {
  const auto bytes = ReadMessageFile(path);
  if (!bytes.ok()) return bytes.status();
  TENON_RETURN_IF_ERROR(CheckGraphDef(bytes.value()));
  const TF_Buffer graph_def{bytes.value().data(), bytes.value().size(), nullptr};
  const Handle<TF_ImportGraphDefOptions> import(api_.TF_NewImportGraphDefOptions(),
                                                api_.TF_DeleteImportGraphDefOptions);
  CallStatus status(api_);
  api_.TF_GraphImportGraphDef(graph_.get(), &graph_def, import.get(), status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kModelInvalid));
  session_ = api_.TF_NewSession(graph_.get(), options, status.get());
  return status.ToStatus(StatusCode::kModelInvalid);
}

Status TensorFlowSession::Resolve(const ModelSource& source) {
  info_.metadata = source.metadata;
  const auto resolve_all = [this](const std::vector<Binding>& bindings, const std::string& kind,
                                  std::vector<ValueSpec>* specs,
                                  std::vector<TF_Output>* outputs) -> Status {
    for (const Binding& binding : bindings) {
      const std::string where = kind + " \"" + binding.spec.name + "\"";
      TENON_RETURN_IF_ERROR(
          ResolveBinding(binding, where, &specs->emplace_back(), &outputs->emplace_back()));
    }
    return {};
  };
  for (const SignatureBinding& binding : source.signatures) {
    Signature& signature = info_.signatures.emplace_back();
    Endpoints& endpoints = endpoints_.emplace_back();
    signature.name = binding.name;
    const std::string of = "signature \"" + binding.name + "\", ";
    TENON_RETURN_IF_ERROR(
        resolve_all(binding.inputs, of + "input", &signature.inputs, &endpoints.inputs));
    TENON_RETURN_IF_ERROR(
        resolve_all(binding.outputs, of + "output", &signature.outputs, &endpoints.outputs));
  }
  return {};
}

Status TensorFlowSession::ResolveBinding(const Binding& binding, const std::string& where,
                                         ValueSpec* spec, TF_Output* output) {
  *spec = binding.spec;
  *output = {nullptr, 0};
  // Values that are not one tensor cannot be fed or fetched; Run says so.
  if (spec->kind != ValueSpec::Kind::kTensor) return {};

  const auto name = ParseTensorName(binding.tensor);
  if (!name) {
    return {
        StatusCode::kModelInvalid,
        where + ": expected a tensor's name such as \"x:0\", received \"" + binding.tensor + "\""};
  }
  output->oper = api_.TF_GraphOperationByName(graph_.get(), name->operation.c_str());
  output->index = name->index;
  if (output->oper == nullptr) {
    return {StatusCode::kModelInvalid,
            where + ": the graph has no operation for \"" + binding.tensor + "\""};
  }
  const int outputs = api_.TF_OperationNumOutputs(output->oper);
  if (output->index >= outputs) {
    return {StatusCode::kModelInvalid, where + ": expected one of the " + std::to_string(outputs) +
                                           " outputs of the operation, received \"" +
                                           binding.tensor + "\""};
  }

  // The dtype decides how memory is read, so the graph's own is what counts.
  const int engine_dtype = api_.TF_OperationOutputType(*output);
  const auto dtype = DTypeFromTensorFlow(engine_dtype);
  if (spec->dtype == DType::kUndefined) {
    if (!dtype) {
      // A resource or a variant: the model loads, but the value cannot cross.
      spec->kind = ValueSpec::Kind::kOpaque;
      output->oper = nullptr;
      return {};
    }
    spec->dtype = *dtype;
    if (spec->shape.empty()) return FillShape(*output, spec);
    return {};
  }
  if (dtype != spec->dtype) {
    return {StatusCode::kModelInvalid, where + ": expected dtype " +
                                           std::string(DTypeName(spec->dtype)) + " of \"" +
                                           binding.tensor + "\", which is " +
                                           TensorFlowDTypeName(engine_dtype) + " in the graph"};
  }
  return {};
}

Status TensorFlowSession::FillShape(TF_Output output, ValueSpec* spec) {
  CallStatus status(api_);
  const int rank = api_.TF_GraphGetTensorNumDims(graph_.get(), output, status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kModelInvalid));
  spec->unknown_rank = rank < 0;
  if (rank <= 0) return {};
  std::vector<int64_t> dims(static_cast<size_t>(rank), -1);
  api_.TF_GraphGetTensorShape(graph_.get(), output, dims.data(), rank, status.get());
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kModelInvalid));
  for (const int64_t dim : dims) spec->shape.push_back({.size = dim, .name = {}});
  return {};
}

Result<std::vector<Value>> TensorFlowSession::Run(const RunRequest& request) {
  return Guarded([&]() -> Result<std::vector<Value>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    std::vector<Feed> feeds;
    auto outputs = RunChecked(request, &feeds);

    // A failed run may have kept a feed, too.
    bool kept = false;
    for (Feed& feed : feeds) {
      feed.tensor.reset();
      kept = kept || !feed.hold.expired();
    }
    std::atomic<Keeping>& keeping = endpoints_[request.signature].keeping;
    if (kept) {
      keeping.store(Keeping::kYes, std::memory_order_relaxed);
    } else if (outputs.ok()) {
      Keeping unknown = Keeping::kUnknown;
      keeping.compare_exchange_strong(unknown, Keeping::kNo, std::memory_order_relaxed);
    }
    return outputs;
  });
}

Result<std::vector<Value>> TensorFlowSession::RunChecked(const RunRequest& request,
                                                         std::vector<Feed>* feeds) {
  const Signature& signature = info_.signatures[request.signature];
  const Endpoints& endpoints = endpoints_[request.signature];

  std::vector<TF_Output> outputs;
  outputs.reserve(request.outputs.size());
  for (const size_t output : request.outputs) {
    if (endpoints.outputs[output].oper == nullptr) {
      return Status(StatusCode::kUnsupported,
                    "expected a tensor for output \"" + signature.outputs[output].name +
                        "\": sparse and opaque outputs cannot be fetched");
    }
    outputs.push_back(endpoints.outputs[output]);
  }

  const FeedMemory memory = endpoints.keeping.load(std::memory_order_relaxed) == Keeping::kNo
                                ? FeedMemory::kPassed
                                : FeedMemory::kCopied;
  std::vector<TF_Output> inputs;
  std::vector<TF_Tensor*> input_values;
  inputs.reserve(request.inputs.size());
  input_values.reserve(request.inputs.size());
  feeds->reserve(request.inputs.size());
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const size_t input = request.inputs[i];
    const std::string& name = signature.inputs[input].name;
    if (endpoints.inputs[input].oper == nullptr) {
      return Status(StatusCode::kUnsupported,
                    "expected a tensor for input \"" + name + "\": other values cannot be fed");
    }
    auto feed = ToTensorFlow(api_, request.feeds[i].tensor, memory, name);
    if (!feed.ok()) return feed.status();
    inputs.push_back(endpoints.inputs[input]);
    input_values.push_back(feed->tensor.get());
    feeds->push_back(std::move(*feed));
  }
  if (request.cancel != nullptr && request.cancel->cancelled()) {
    return Status(StatusCode::kAborted, "the run was aborted before it began");
  }

  std::vector<TF_Tensor*> fetched(outputs.size(), nullptr);
  std::vector<TensorHandle> results;
  results.reserve(outputs.size());
  CallStatus status(api_);
  api_.TF_SessionRun(session_, /*run_options=*/nullptr, inputs.data(), input_values.data(),
                     static_cast<int>(inputs.size()), outputs.data(), fetched.data(),
                     static_cast<int>(outputs.size()), /*targets=*/nullptr, /*target_count=*/0,
                     /*run_metadata=*/nullptr, status.get());
  // All are owned before the first of them can fail; there is room for them.
  for (TF_Tensor* tensor : fetched) results.emplace_back(tensor, api_.TF_DeleteTensor);
  TENON_RETURN_IF_ERROR(status.ToStatus(StatusCode::kRun));

  std::vector<Value> values;
  values.reserve(results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    if (results[i] == nullptr) {
      return Status(StatusCode::kRun, "TensorFlow gave nothing for output \"" + spec.name + "\"");
    }
    auto tensor = FromTensorFlow(api_, std::move(results[i]), spec.dtype, spec.name);
    if (!tensor.ok()) return tensor.status();
    values.push_back(Value::Of(std::move(*tensor)));
  }
  return values;
}

Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options) {
  return Guarded([&]() -> Result<std::shared_ptr<Session>> {
    auto library = std::dynamic_pointer_cast<Library>(engine);
    if (library == nullptr) {
      return Status(StatusCode::kInternal, "expected the engine that tensorflow::Open returned");
    }
    return TensorFlowSession::Load(std::move(library), source, options);
  });
}

}  // namespace tenon::tensorflow
