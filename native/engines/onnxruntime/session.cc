#include "engines/onnxruntime/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/shape.h"
#include "engines/onnxruntime/bound_run.h"
#include "engines/onnxruntime/device_turn.h"
#include "engines/onnxruntime/engine_tensor.h"
#include "engines/onnxruntime/model_info.h"
#include "engines/onnxruntime/small_array.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"
#include "platform/aligned_memory.h"

namespace tenon::onnxruntime {
namespace {

// Up to how many outputs of a run, and of how many bytes each, are given a place
// of the shape that is expected of them. That took 0.86 to 0.91 times as long up
// to 64 KiB; beyond it nothing was gained, and allocating that much costs page
// faults which the engine's arena does not have.
constexpr size_t kMostExpected = 16;
constexpr size_t kMostExpectedBytes = size_t{64} << 10;

Status Aborted(const std::string& what) { return {StatusCode::kAborted, what}; }

Status NoValue(const std::string& name) {
  return {StatusCode::kRun, "expected a value for output \"" + name + "\", received none"};
}

// Whether an error of the engine may come of an output of another shape than the
// place it was given: the words for that differ between versions and kernels.
bool MaySpeakOfShapes(const Status& failed) {
  if (failed.code() != StatusCode::kRun) return false;
  for (const char* word : {"shape", "dimension", "rank", "mismatch"}) {
    if (failed.message().find(word) != std::string::npos) return true;
  }
  return false;
}

// For each output the input of the same name; empty where there is none at all.
std::vector<std::optional<size_t>> FindSameNames(const std::vector<ValueSpec>& outputs,
                                                 const std::vector<ValueSpec>& inputs) {
  std::vector<std::optional<size_t>> found(outputs.size());
  bool any = false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    for (size_t j = 0; j < inputs.size(); ++j) {
      if (inputs[j].name != outputs[i].name) continue;
      found[i] = j;
      any = true;
    }
  }
  if (!any) found.clear();
  return found;
}

Status CheckOptions(const RunRequest& request) {
  if (request.options == nullptr ||
      dynamic_cast<const RunOptions*>(request.options.get()) != nullptr) {
    return {};
  }
  return {StatusCode::kInvalidArgument,
          "expected the run options of ONNX Runtime, received another engine's"};
}

// Where an output has a place of its own, asking for it twice would leave one of
// the two places as it was.
Status CheckOutputsDiffer(const Signature& signature, const RunRequest& request) {
  for (size_t i = 0; i < request.targets.size(); ++i) {
    if (request.targets[i].kind == OutputTarget::Kind::kHost) continue;
    for (size_t j = 0; j < request.outputs.size(); ++j) {
      if (j == i || request.outputs[j] != request.outputs[i]) continue;
      return {StatusCode::kInvalidArgument,
              "expected output \"" + signature.outputs[request.outputs[i]].name +
                  "\" once where it does not go to host memory of its own"};
    }
  }
  return {};
}

}  // namespace

Status WrongShape(const std::string& name, const std::string& expected, const Shape& received) {
  return {StatusCode::kShape, "expected a tensor of shape " + expected + " for output \"" + name +
                                  "\" to go into, received shape " + ShapeToString(received)};
}

Status CheckDeclaredShape(const ValueSpec& spec, const Shape& shape) {
  if (spec.unknown_rank) return {};
  bool fits = spec.shape.size() == shape.size();
  std::string expected = "[";
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    const Dimension& dimension = spec.shape[i];
    if (i > 0) expected += ",";
    if (dimension.size >= 0) {
      expected += std::to_string(dimension.size);
      fits = fits && i < shape.size() && shape[i] == dimension.size;
    } else {
      expected += dimension.name.empty() ? "?" : dimension.name;
    }
  }
  return fits ? Status() : WrongShape(spec.name, expected + "]", shape);
}

// One run: the arrays that the engine takes, and what owns what is in them.
struct OnnxSession::Call {
  Call(const OnnxSession& session, const RunRequest& request)
      : context{*session.library_, session.may_be_on_device(), {}, 0},
        made(request.feeds.size()),
        input_names(request.feeds.size()),
        inputs(request.feeds.size()),
        results(request.outputs.size()),
        output_names(request.outputs.size()),
        outputs(request.outputs.size()) {}

  FeedContext context;
  SmallArray<ValueHandle> made;
  SmallArray<const char*> input_names;
  SmallArray<const OrtValue*> inputs;
  size_t input_count = 0;
  // How many of the stand-ins are feeds'; the rest are targets'.
  size_t feed_stand_ins = 0;
  // Before the call the values over the memory that outputs go into, after it
  // all outputs.
  SmallArray<ValueHandle> results;
  SmallArray<const char*> output_names;
  // What the engine is told of `results`, and where it puts what it makes.
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
  TENON_RETURN_IF_ERROR(MakeRunOptions(nullptr, &run_options_));
  Result<ModelInfo> info = ReadModelInfo(*library_, session_.get());
  if (!info.ok()) return info.status();
  info_ = std::move(*info);
  info_.providers = session_.providers();
  info_.provider_fallbacks = session_.fallbacks();
  const Signature& signature = info_.signatures[0];
  same_as_input_ = FindSameNames(signature.outputs, signature.inputs);
  ReadOutputPlaces(signature.outputs.size());
  if (may_be_on_device()) return {};
  expected_ = std::make_unique<ExpectedShape[]>(signature.outputs.size());
  for (size_t i = 0; i < signature.outputs.size(); ++i) {
    expected_[i].Declare(signature, signature.outputs[i]);
  }
  return {};
}

Status OnnxSession::MakeRunOptions(const RunOptions* own, RunOptionsHandle* options) const {
  const Api& api = library_->api();
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.CreateRunOptions(Receiver(api, options)), StatusCode::kRun));
  return session_.ApplyRunOptions(own, options->get());
}

void OnnxSession::ReadOutputPlaces(size_t count) {
  const Api& api = library_->api();
  // Before 1.23 the engine does not say, and outputs stay in host memory.
  if (!may_be_on_device() || count == 0 || api.SessionGetMemoryInfoForOutputs == nullptr) return;
  std::vector<const OrtMemoryInfo*> places(count);
  // Nor does it for a model that hands an input back.
  if (!TakeStatus(api, api.SessionGetMemoryInfoForOutputs(session_.get(), places.data(), count),
                  StatusCode::kInternal)
           .ok()) {
    return;
  }
  bool any = false;
  for (const OrtMemoryInfo*& place : places) {
    OrtMemoryDeviceType device = kOrtMemoryCpu;
    if (place != nullptr) api.MemoryInfoGetDeviceType(place, &device);
    if (device == kOrtMemoryCpu) place = nullptr;
    any = any || place != nullptr;
  }
  if (any) output_places_ = std::move(places);
}

Result<std::vector<Value>> OnnxSession::Run(const RunRequest& request) {
  return CatchAll([&]() -> Result<std::vector<Value>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    TENON_RETURN_IF_ERROR(CheckOptions(request));
    const DeviceTurn turn(takes_turns());
    if (request.cancel != nullptr && request.cancel->cancelled()) {
      return Aborted("the run was cancelled before it began");
    }
    // The engine refuses a run that is to compute nothing.
    if (request.outputs.empty()) return std::vector<Value>{};
    return RunChecked(request, true);
  });
}

Result<std::string> OnnxSession::EndProfiling() {
  // The engine lets runs go on meanwhile; they are in the profile as far as they are.
  const std::lock_guard<std::mutex> lock(profile_mutex_);
  return session_.EndProfiling();
}

Result<std::unique_ptr<BoundRun>> OnnxSession::Bind(const RunRequest& request) {
  return CatchAll([&]() -> Result<std::unique_ptr<BoundRun>> {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    TENON_RETURN_IF_ERROR(CheckOptions(request));
    TENON_RETURN_IF_ERROR(CheckOutputsDiffer(info_.signatures[request.signature], request));
    return OnnxBoundRun::Create(shared_from_this(), request);
  });
}

bool OnnxSession::ExpectShapes(const RunRequest& request, std::vector<Shape>* shapes) const {
  if (expected_ == nullptr) return false;
  shapes->resize(request.outputs.size());
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    const ExpectedShape& expected = expected_[request.outputs[i]];
    if (!expected.believed() || !expected.Find(request, &(*shapes)[i])) return false;
  }
  return true;
}

std::optional<size_t> OnnxSession::FeedHandedBack(const RunRequest& request, size_t output) const {
  if (same_as_input_.empty() || !same_as_input_[output]) return std::nullopt;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (request.inputs[i] == *same_as_input_[output]) return i;
  }
  return std::nullopt;
}

Result<std::vector<Value>> OnnxSession::RunChecked(const RunRequest& request, bool expect_shapes) {
  const Api& api = library_->api();
  Call call(*this, request);
  std::vector<Value> outputs(request.outputs.size());
  TENON_RETURN_IF_ERROR(PrepareFeeds(request, &call));
  TENON_RETURN_IF_ERROR(PrepareTargets(request, &call));
  bool expected = false;
  if (expect_shapes) TENON_RETURN_IF_ERROR(PrepareExpected(request, &call, &outputs, &expected));

  Status status;
  if (LeavesOutputsOnDevice(request)) {
    status = RunLeavingOutputsOnDevice(request, &call);
  } else {
    status = CallEngine(OptionsOf(request), request.cancel, [&](const OrtRunOptions* options) {
      return api.Run(session_.get(), options, call.input_names.data(), call.inputs.data(),
                     call.input_count, call.output_names.data(), call.output_names.size(),
                     call.outputs.data());
    });
    // Owned before anything can return: a failed run may have made some of them.
    for (size_t i = 0; i < call.results.size(); ++i) {
      if (call.results[i] != nullptr) continue;
      call.results[i] = ValueHandle(call.outputs[i], Releaser<&Api::ReleaseValue>{&api});
    }
  }
  if (!status.ok()) {
    if (!expected || !MaySpeakOfShapes(status)) return ExplainFailure(request, std::move(status));
    for (const size_t output : request.outputs) expected_[output].Doubt();
    return RunChecked(request, false);
  }
  TENON_RETURN_IF_ERROR(TakeOutputs(request, &call, &outputs));
  TENON_RETURN_IF_ERROR(SeparateOutputs(request, &call.context, &outputs));
  if (request.copied_bytes != nullptr && call.context.copied_bytes > 0) {
    request.copied_bytes->fetch_add(call.context.copied_bytes, std::memory_order_relaxed);
  }
  return outputs;
}

Status OnnxSession::PrepareFeeds(const RunRequest& request, Call* call) {
  const Signature& signature = info_.signatures[request.signature];
  for (size_t i = 0; i < request.feeds.size(); ++i) {
    const Value& feed = request.feeds[i];
    // An absent optional is an input that is not fed: the engine refuses a null,
    // and a value of its own without content crashes it.
    if (feed.kind == Value::Kind::kNone) continue;
    const ValueSpec& spec = signature.inputs[request.inputs[i]];
    TENON_RETURN_IF_ERROR(MakeFeed(feed, spec, spec.name, &call->context, &call->made[i],
                                   &call->inputs[call->input_count]));
    call->input_names[call->input_count++] = spec.name.c_str();
  }
  return {};
}

Status OnnxSession::PrepareTargets(const RunRequest& request, Call* call) {
  const Signature& signature = info_.signatures[request.signature];
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    call->output_names[i] = signature.outputs[request.outputs[i]].name.c_str();
  }
  call->feed_stand_ins = call->context.stand_ins.size();
  if (request.targets.empty()) return {};
  TENON_RETURN_IF_ERROR(CheckOutputsDiffer(signature, request));
  for (size_t i = 0; i < request.targets.size(); ++i) {
    const OutputTarget& target = request.targets[i];
    if (target.kind != OutputTarget::Kind::kInto) continue;
    if (!GoesStraightInto(request, i)) continue;
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    FeedContext& context = call->context;
    // The engine writes to the target's own memory or to what stands in for it.
    const uint64_t copied_before = context.copied_bytes;
    TENON_RETURN_IF_ERROR(MakeTensor(target.into, spec.name, &context, &call->results[i]));
    context.copied_bytes = copied_before;
    call->outputs[i] = call->results[i].get();
  }
  return {};
}

// Gives outputs a place of the shape that is expected of them: the engine takes
// longer to allocate a small output, and to say afterwards what it is.
Status OnnxSession::PrepareExpected(const RunRequest& request, Call* call,
                                    std::vector<Value>* outputs, bool* expected) {
  if (expected_ == nullptr || request.outputs.size() > kMostExpected) return {};
  const Signature& signature = info_.signatures[request.signature];
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    const size_t output = request.outputs[i];
    if (!expected_[output].believed() || FeedHandedBack(request, output) ||
        (!request.targets.empty() && request.targets[i].kind != OutputTarget::Kind::kHost) ||
        std::count(request.outputs.begin(), request.outputs.end(), output) > 1) {
      continue;
    }
    const ValueSpec& spec = signature.outputs[output];
    Tensor& tensor = (*outputs)[i].tensor;
    if (!expected_[output].Find(request, &tensor.shape)) continue;
    const auto count = ElementCount(tensor.shape);
    const auto byte_length = count ? DTypeByteLength(spec.dtype, *count) : std::nullopt;
    if (!byte_length || *byte_length > kMostExpectedBytes) continue;
    tensor.owner = AllocateAligned(*byte_length);
    if (tensor.owner == nullptr) continue;
    tensor.dtype = spec.dtype;
    tensor.data = tensor.owner.get();
    tensor.byte_length = *byte_length;
    tensor.exclusive = true;
    TENON_RETURN_IF_ERROR(MakeTensor(tensor, spec.name, &call->context, &call->results[i]));
    call->outputs[i] = call->results[i].get();
    (*outputs)[i].kind = Value::Kind::kTensor;
    *expected = true;
  }
  return {};
}

const OrtMemoryInfo* OnnxSession::DeviceOf(const RunRequest& request, size_t i) const {
  if (output_places_.empty() || request.targets.empty() ||
      request.targets[i].kind == OutputTarget::Kind::kHost) {
    return nullptr;
  }
  return output_places_[request.outputs[i]];
}

bool OnnxSession::GoesStraightInto(const RunRequest& request, size_t i) const {
  // The engine would hand a feed back and leave the target as it is; and from a
  // device it would copy into a target of another shape and as many bytes.
  return !FeedHandedBack(request, request.outputs[i]) && DeviceOf(request, i) == nullptr;
}

bool OnnxSession::LeavesOutputsOnDevice(const RunRequest& request) const {
  if (output_places_.empty()) return false;
  for (size_t i = 0; i < request.targets.size(); ++i) {
    if (DeviceOf(request, i) != nullptr) return true;
  }
  return false;
}

// The engine's Run brings every output it allocates to host memory; only a
// binding can leave one where it is made.
Status OnnxSession::RunLeavingOutputsOnDevice(const RunRequest& request, Call* call) {
  const Api& api = library_->api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  if (UsesAdapters(OptionsOf(request))) {
    return {StatusCode::kUnsupported,
            "expected outputs in host memory from a run with LoRA adapters: ONNX Runtime has no "
            "way to leave them on a device and use the adapters"};
  }
  IoBindingHandle binding;
  TENON_RETURN_IF_ERROR(check(api.CreateIoBinding(session_.get(), Receiver(api, &binding))));
  for (size_t i = 0; i < call->input_count; ++i) {
    TENON_RETURN_IF_ERROR(
        check(api.BindInput(binding.get(), call->input_names[i], call->inputs[i])));
  }
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    const char* const name = call->output_names[i];
    if (call->results[i] != nullptr) {
      TENON_RETURN_IF_ERROR(check(api.BindOutput(binding.get(), name, call->results[i].get())));
      continue;
    }
    const OrtMemoryInfo* place = DeviceOf(request, i);
    if (place == nullptr) place = library_->cpu_memory();
    TENON_RETURN_IF_ERROR(check(api.BindOutputToDevice(binding.get(), name, place)));
  }
  TENON_RETURN_IF_ERROR(
      CallEngine(OptionsOf(request), request.cancel, [&](const OrtRunOptions* options) {
        return api.RunWithBinding(session_.get(), options, binding.get());
      }));
  Allocated<OrtValue*> values(api, library_->allocator());
  size_t count = 0;
  TENON_RETURN_IF_ERROR(check(
      api.GetBoundOutputValues(binding.get(), library_->allocator(), &values.memory, &count)));
  // In the order in which they were bound.
  for (size_t i = 0; i < count; ++i) {
    ValueHandle value(values.memory[i], Releaser<&Api::ReleaseValue>{&api});
    if (i < call->results.size() && call->results[i] == nullptr) {
      call->results[i] = std::move(value);
    }
  }
  return {};
}

Status OnnxSession::TakeOutputs(const RunRequest& request, Call* call,
                                std::vector<Value>* outputs) {
  const Signature& signature = info_.signatures[request.signature];
  for (size_t i = 0; i < outputs->size(); ++i) {
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    const auto kind = request.targets.empty() ? OutputTarget::Kind::kHost : request.targets[i].kind;
    ValueHandle& result = call->results[i];
    switch (kind) {
      case OutputTarget::Kind::kHost: {
        Value& output = (*outputs)[i];
        if (output.kind == Value::Kind::kTensor) break;  // it had a place
        output = {};
        TENON_RETURN_IF_ERROR(TakeOutput(*library_, std::move(result), spec, may_be_on_device(),
                                         &call->context.copied_bytes, &output));
        if (expected_ != nullptr && expected_[request.outputs[i]].in_doubt()) {
          expected_[request.outputs[i]].Compare(request, output.tensor.shape);
        }
        break;
      }
      case OutputTarget::Kind::kEngine:
        if (const auto feed = FeedHandedBack(request, request.outputs[i]);
            feed && request.feeds[*feed].kind == Value::Kind::kEngineTensor) {
          (*outputs)[i] = request.feeds[*feed];
          break;
        }
        TENON_RETURN_IF_ERROR(KeepInEngine(request, spec, call, std::move(result), &(*outputs)[i]));
        break;
      case OutputTarget::Kind::kInto:
        TENON_RETURN_IF_ERROR(FillTarget(request, spec, call, i));
        (*outputs)[i] = Value::Of(request.targets[i].into);
        break;
    }
  }
  for (size_t i = call->feed_stand_ins; i < call->context.stand_ins.size(); ++i) {
    const StandIn& stand_in = call->context.stand_ins[i];
    std::memcpy(stand_in.original, stand_in.memory.get(), stand_in.byte_length);
    call->context.copied_bytes += stand_in.byte_length;
  }
  return {};
}

Status OnnxSession::FillTarget(const RunRequest& request, const ValueSpec& spec, Call* call,
                               size_t output) {
  if (GoesStraightInto(request, output)) return {};
  OrtValue* const value = call->results[output].get();
  if (value == nullptr) return NoValue(spec.name);
  TensorDescription description;
  TENON_RETURN_IF_ERROR(
      DescribeTensor(*library_, value, spec.name, may_be_on_device(), &description));
  const Tensor& into = request.targets[output].into;
  if (description.shape != into.shape) {
    return WrongShape(spec.name, ShapeToString(description.shape), into.shape);
  }
  if (description.in_host_memory) call->context.copied_bytes += into.byte_length;
  return CopyBytes(*library_, value, description, spec.name, into.data);
}

Status OnnxSession::KeepInEngine(const RunRequest& request, const ValueSpec& spec, Call* call,
                                 ValueHandle handle, Value* output) {
  if (handle == nullptr) return NoValue(spec.name);
  TensorDescription description;
  TENON_RETURN_IF_ERROR(
      DescribeTensor(*library_, handle.get(), spec.name, may_be_on_device(), &description));
  std::shared_ptr<const void> kept;
  if (!description.in_host_memory) {
    kept = shared_from_this();
  } else if (BelongsToFeed(description.data, description.byte_length, request,
                           call->context.stand_ins)) {
    Tensor copy;
    TENON_RETURN_IF_ERROR(CopyToHost(*library_, handle.get(), description, spec.name, &copy));
    TENON_RETURN_IF_ERROR(MakeTensor(copy, spec.name, &call->context, &handle));
    call->context.copied_bytes += copy.byte_length;
    description.data = copy.data;
    kept = std::move(copy.owner);
  }
  auto tensor = OnnxEngineTensor::Create(library_, std::move(handle), std::move(description),
                                         std::move(kept));
  if (!tensor.ok()) return tensor.status();
  output->kind = Value::Kind::kEngineTensor;
  output->engine_tensor = std::move(*tensor);
  return {};
}

Status OnnxSession::ExplainFailure(const RunRequest& request, Status failed) {
  if (!MaySpeakOfShapes(failed) || request.targets.empty()) return failed;
  const Signature& signature = info_.signatures[request.signature];
  RunRequest plain;
  plain.signature = request.signature;
  plain.cancel = request.cancel;
  std::vector<const Tensor*> given;
  for (size_t i = 0; i < request.targets.size(); ++i) {
    if (request.targets[i].kind != OutputTarget::Kind::kInto) continue;
    const Tensor& into = request.targets[i].into;
    TENON_RETURN_IF_ERROR(CheckDeclaredShape(signature.outputs[request.outputs[i]], into.shape));
    plain.outputs.push_back(request.outputs[i]);
    given.push_back(&into);
  }
  if (given.empty()) return failed;
  plain.inputs = request.inputs;
  plain.feeds = request.feeds;
  const auto outputs = RunChecked(plain, false);
  if (!outputs.ok()) return failed;
  for (size_t i = 0; i < given.size(); ++i) {
    const Shape& shape = outputs.value()[i].tensor.shape;
    if (shape == given[i]->shape) continue;
    return WrongShape(signature.outputs[plain.outputs[i]].name, ShapeToString(shape),
                      given[i]->shape);
  }
  return failed;
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
