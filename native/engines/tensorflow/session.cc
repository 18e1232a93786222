#include "engines/tensorflow/session.h"

#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engines/output_file.h"
#include "engines/tensorflow/bound_run.h"
#include "engines/tensorflow/config.h"
#include "engines/tensorflow/graph_check.h"
#include "engines/tensorflow/guard.h"
#include "engines/tensorflow/run_options.h"
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

// A RunOptions message (tensorflow/core/protobuf/config.proto) whose
// inter_op_thread_pool, field 3, is -1: the thread that called.
constexpr char kCallersThreadBytes[] = "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
constexpr TF_Buffer kCallersThread{kCallersThreadBytes, sizeof(kCallersThreadBytes) - 1, nullptr};

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

Status CheckOptions(const RunRequest& request) {
  if (request.options == nullptr) return {};
  const auto* const options = dynamic_cast<const RunOptions*>(request.options.get());
  if (options == nullptr) {
    return {StatusCode::kInvalidArgument,
            "expected the run options of TensorFlow, received another engine's"};
  }
  if (options->timeout_ms >= 0) return {};
  return {StatusCode::kInvalidArgument,
          "expected a timeout of at least 0 ms, received " + std::to_string(options->timeout_ms)};
}

// An output that is this feed would change while the target is written.
bool OverlapsTarget(const Tensor& feed, const RunRequest& request) {
  for (const OutputTarget& target : request.targets) {
    if (target.kind == OutputTarget::Kind::kInto && Overlaps(feed, target.into)) return true;
  }
  return false;
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
  std::string config;
  TENON_RETURN_IF_ERROR(MakeConfig(options, &config));
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
    auto facts = CheckSavedModel(bytes.value());
    if (!facts.ok()) return facts.status();
    rank_bound_ = std::move(facts->rank_bound);
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
  auto facts = CheckGraphDef(bytes.value());
  if (!facts.ok()) return facts.status();
  rank_bound_ = std::move(facts->rank_bound);
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
    endpoints.keeping = std::make_unique<std::atomic<Keeping>[]>(endpoints.inputs.size());
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

Status TensorFlowSession::Invoke(Endpoints* endpoints, const Call& call, const RunOptions* options,
                                 CancelToken* cancel, CallStatus* status) {
  if (cancel != nullptr && cancel->cancelled()) {
    return {StatusCode::kAborted, "the run was aborted before it began"};
  }
  if (options != nullptr) {
    TENON_RETURN_IF_ERROR(InvokeWith(*options, call, status));
  } else {
    const bool here = endpoints->place.here();
    const auto start = std::chrono::steady_clock::now();
    api_.TF_SessionRun(session_, here ? &kCallersThread : nullptr, call.inputs, call.feeds,
                       static_cast<int>(call.input_count), call.outputs, call.fetched,
                       static_cast<int>(call.output_count), /*targets=*/nullptr,
                       /*target_count=*/0, /*run_metadata=*/nullptr, status->get());
    const std::chrono::nanoseconds time = std::chrono::steady_clock::now() - start;
    endpoints->place.Note(here, time.count());
    TENON_RETURN_IF_ERROR(status->ToStatus(StatusCode::kRun));
  }
  for (size_t i = 0; i < call.output_count; ++i) {
    if (call.fetched[i] != nullptr) continue;
    return {StatusCode::kRun,
            "expected a tensor for each output, received none for that at " + std::to_string(i)};
  }
  return {};
}

// By the pool, whatever other runs do: on the caller's thread TensorFlow would only
// look at the time when everything is done.
Status TensorFlowSession::InvokeWith(const RunOptions& options, const Call& call,
                                     CallStatus* status) {
  const bool traced = !options.trace_path.empty();
  if (traced) TENON_RETURN_IF_ERROR(CheckWritable("the run's trace", options.trace_path));
  const std::string encoded = EncodeRunOptions(options);
  const TF_Buffer message{encoded.data(), encoded.size(), nullptr};
  RunTrace trace;
  api_.TF_SessionRun(session_, &message, call.inputs, call.feeds,
                     static_cast<int>(call.input_count), call.outputs, call.fetched,
                     static_cast<int>(call.output_count), /*targets=*/nullptr, /*target_count=*/0,
                     traced ? trace.buffer() : nullptr, status->get());
  TENON_RETURN_IF_ERROR(status->ToStatus(StatusCode::kRun));
  return traced ? trace.Write(options.trace_path) : Status();
}

Status TensorFlowSession::CheckRank(const Value& feed, const ValueSpec& spec) const {
  if (rank_bound_.empty() || spec.unknown_rank) return {};
  const Shape& shape =
      feed.kind == Value::Kind::kEngineTensor ? feed.engine_tensor->shape() : feed.tensor.shape;
  if (shape.size() == spec.shape.size()) return {};
  return {StatusCode::kShape, "expected rank " + std::to_string(spec.shape.size()) + " for \"" +
                                  spec.name + "\", received shape " + ShapeToString(shape) +
                                  ": the model has " + rank_bound_ + ", which takes no other rank"};
}

Status TensorFlowSession::CheckEndpoints(const RunRequest& request) const {
  const Signature& signature = info_.signatures[request.signature];
  const Endpoints& endpoints = endpoints_[request.signature];
  for (const size_t output : request.outputs) {
    if (endpoints.outputs[output].oper != nullptr) continue;
    return {StatusCode::kUnsupported, "expected a tensor for output \"" +
                                          signature.outputs[output].name +
                                          "\": sparse and opaque outputs cannot be fetched"};
  }
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const size_t input = request.inputs[i];
    const std::string& name = signature.inputs[input].name;
    if (endpoints.inputs[input].oper == nullptr) {
      return {StatusCode::kUnsupported,
              "expected a tensor for input \"" + name + "\": other values cannot be fed"};
    }
    TENON_RETURN_IF_ERROR(CheckRank(request.feeds[i], signature.inputs[input]));
    if (request.feeds[i].kind == Value::Kind::kEngineTensor &&
        TensorFlowEngineTensor::Of(request.feeds[i]) == nullptr) {
      return {StatusCode::kUnsupported, "expected a tensor that TensorFlow keeps for input \"" +
                                            name + "\", received one that another engine keeps"};
    }
  }
  return {};
}

bool TensorFlowSession::NoteFeed(Endpoints* endpoints, size_t input, Feed* feed, bool succeeded) {
  std::atomic<Keeping>& keeping = endpoints->keeping[input];
  // A failed run may have kept it, too.
  if (IsKept(api_, feed)) {
    keeping.store(Keeping::kYes, std::memory_order_relaxed);
    return true;
  }
  if (succeeded && keeping.load(std::memory_order_relaxed) == Keeping::kUnknown) {
    Keeping unknown = Keeping::kUnknown;
    keeping.compare_exchange_strong(unknown, Keeping::kNo, std::memory_order_relaxed);
  }
  return false;
}

Result<std::vector<Value>> TensorFlowSession::Run(const RunRequest& request) {
  return Guarded([&]() -> Result<std::vector<Value>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    TENON_RETURN_IF_ERROR(CheckOptions(request));
    TENON_RETURN_IF_ERROR(CheckEndpoints(request));
    Endpoints& endpoints = endpoints_[request.signature];
    std::vector<Feed> feeds;
    auto outputs = RunChecked(request, &endpoints, &feeds);
    for (size_t i = 0; i < feeds.size(); ++i) {
      if (feeds[i].tensor == nullptr || !CanChange(request.feeds[i].tensor)) continue;
      NoteFeed(&endpoints, request.inputs[i], &feeds[i], outputs.ok());
    }
    return outputs;
  });
}

Result<std::vector<Value>> TensorFlowSession::RunChecked(const RunRequest& request,
                                                         Endpoints* endpoints,
                                                         std::vector<Feed>* feeds) {
  const Signature& signature = info_.signatures[request.signature];
  std::vector<TF_Output> inputs;
  std::vector<TF_Tensor*> input_values;
  const auto note_copy = [&request](size_t byte_length) {
    if (request.copied_bytes == nullptr) return;
    request.copied_bytes->fetch_add(byte_length, std::memory_order_relaxed);
  };
  std::vector<const TensorFlowEngineTensor*> kept_feeds;
  inputs.reserve(request.inputs.size());
  input_values.reserve(request.inputs.size());
  feeds->reserve(request.inputs.size());
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const size_t input = request.inputs[i];
    inputs.push_back(endpoints->inputs[input]);
    if (request.feeds[i].kind == Value::Kind::kEngineTensor) {
      kept_feeds.push_back(TensorFlowEngineTensor::Of(request.feeds[i]));
      input_values.push_back(kept_feeds.back()->tensor());
      feeds->emplace_back();
      continue;
    }
    const Tensor& tensor = request.feeds[i].tensor;
    const bool pass = LetsGoOf(*endpoints, input) && !OverlapsTarget(tensor, request);
    auto feed = ToTensorFlow(api_, tensor, pass ? FeedMemory::kPassed : FeedMemory::kCopied,
                             signature.inputs[input].name);
    if (!feed.ok()) return feed.status();
    if (!feed->passed) note_copy(tensor.byte_length);
    input_values.push_back(feed->tensor.get());
    feeds->push_back(std::move(*feed));
  }

  std::vector<TF_Output> outputs;
  outputs.reserve(request.outputs.size());
  for (const size_t output : request.outputs) outputs.push_back(endpoints->outputs[output]);
  std::vector<TF_Tensor*> fetched(outputs.size(), nullptr);
  std::vector<TensorHandle> results;
  results.reserve(outputs.size());
  CallStatus status(api_);
  const Status run = Invoke(endpoints,
                            {inputs.data(), input_values.data(), inputs.size(), outputs.data(),
                             fetched.data(), outputs.size()},
                            OptionsOf(request), request.cancel, &status);
  // All are owned before the first of them can fail; there is room for them.
  for (TF_Tensor* tensor : fetched) results.emplace_back(tensor, api_.TF_DeleteTensor);
  TENON_RETURN_IF_ERROR(run);

  // Nothing is written unless everything can be.
  for (size_t i = 0; i < request.targets.size(); ++i) {
    if (request.targets[i].kind != OutputTarget::Kind::kInto) continue;
    TENON_RETURN_IF_ERROR(CheckInto(api_, results[i].get(), request.targets[i].into,
                                    signature.outputs[request.outputs[i]].name));
  }

  std::vector<Value> values(results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    const auto target =
        request.targets.empty() ? OutputTarget::Kind::kHost : request.targets[i].kind;
    switch (target) {
      case OutputTarget::Kind::kHost: {
        const void* const memory = api_.TF_TensorData(results[i].get());
        auto tensor = FromTensorFlow(api_, std::move(results[i]), spec.dtype, spec.name);
        if (!tensor.ok()) return tensor.status();
        if (tensor->data != memory) note_copy(tensor->byte_length);
        values[i] = Value::Of(std::move(*tensor));
        break;
      }
      case OutputTarget::Kind::kEngine: {
        auto kept = TensorFlowEngineTensor::Keep(library_, std::move(results[i]), spec.dtype,
                                                 spec.name, kept_feeds);
        if (!kept.ok()) return kept.status();
        values[i].kind = Value::Kind::kEngineTensor;
        values[i].engine_tensor = std::move(*kept);
        break;
      }
      case OutputTarget::Kind::kInto: {
        CopyInto(api_, results[i].get(), request.targets[i].into);
        note_copy(request.targets[i].into.byte_length);
        results[i].reset();
        values[i] = Value::Of(request.targets[i].into);
        break;
      }
    }
  }
  return values;
}

Result<std::unique_ptr<BoundRun>> TensorFlowSession::Bind(const RunRequest& request) {
  return Guarded([&]() -> Result<std::unique_ptr<BoundRun>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    TENON_RETURN_IF_ERROR(CheckOptions(request));
    TENON_RETURN_IF_ERROR(CheckEndpoints(request));
    return TensorFlowBoundRun::Create(shared_from_this(), request);
  });
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
