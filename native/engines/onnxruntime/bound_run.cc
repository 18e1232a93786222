#include "engines/onnxruntime/bound_run.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engines/onnxruntime/device_turn.h"
#include "engines/onnxruntime/engine_tensor.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

// Whether what a value lies in may be used after the call that passed it.
bool IsOwned(const Value& value) {
  if (value.kind == Value::Kind::kTensor) {
    return value.tensor.byte_length == 0 || value.tensor.owner != nullptr;
  }
  return std::all_of(value.items.begin(), value.items.end(), IsOwned);
}

Status NotOwned(const std::string& name) {
  return {StatusCode::kInvalidArgument,
          "expected memory that outlives the call for \"" + name + "\" to be bound"};
}

}  // namespace

Result<std::unique_ptr<BoundRun>> OnnxBoundRun::Create(std::shared_ptr<OnnxSession> session,
                                                       const RunRequest& request) {
  std::unique_ptr<OnnxBoundRun> bound(new OnnxBoundRun(std::move(session), request));
  TENON_RETURN_IF_ERROR(bound->PrepareFeeds());
  TENON_RETURN_IF_ERROR(bound->PrepareTargets());
  // The engine leaves LoRA adapters out of a run with a binding.
  if (!bound->outputs_.empty() && !bound->context_.may_be_on_device &&
      !bound->session_->UsesAdapters(OnnxSession::OptionsOf(request))) {
    TENON_RETURN_IF_ERROR(bound->MakeBinding());
  }
  if (request.copied_bytes != nullptr) {
    request.copied_bytes->fetch_add(bound->context_.copied_bytes, std::memory_order_relaxed);
  }
  return std::unique_ptr<BoundRun>(std::move(bound));
}

OnnxBoundRun::OnnxBoundRun(std::shared_ptr<OnnxSession> session, const RunRequest& request)
    : session_(std::move(session)),
      request_(request),
      context_{session_->library(), session_->may_be_on_device(), {}, 0} {
  // Those are the caller's for the time of the call alone.
  request_.cancel = nullptr;
  request_.copied_bytes = nullptr;
}

Status OnnxBoundRun::PrepareFeeds() {
  const Signature& signature = session_->info().signatures[request_.signature];
  for (size_t i = 0; i < request_.feeds.size(); ++i) {
    const Value& feed = request_.feeds[i];
    if (feed.kind == Value::Kind::kNone) continue;
    const ValueSpec& spec = signature.inputs[request_.inputs[i]];
    if (!IsOwned(feed)) return NotOwned(spec.name);
    const OrtValue* value = nullptr;
    TENON_RETURN_IF_ERROR(
        MakeFeed(feed, spec, spec.name, &context_, &made_.emplace_back(), &value));
    input_names_.push_back(spec.name.c_str());
    inputs_.push_back(value);
  }
  for (const StandIn& stand_in : context_.stand_ins) {
    if (stand_in.original == nullptr) continue;
    before_.push_back({stand_in.original, stand_in.memory.get(), stand_in.byte_length});
  }
  return {};
}

Status OnnxBoundRun::PrepareTargets() {
  const Signature& signature = session_->info().signatures[request_.signature];
  const size_t feed_stand_ins = context_.stand_ins.size();
  if (request_.targets.size() != request_.outputs.size()) {
    return {StatusCode::kInternal, "expected a target for each output that is bound"};
  }
  for (size_t i = 0; i < request_.outputs.size(); ++i) {
    const ValueSpec& spec = signature.outputs[request_.outputs[i]];
    const OutputTarget& target = request_.targets[i];
    if (target.kind != OutputTarget::Kind::kInto) {
      return {StatusCode::kInternal,
              "expected a tensor for output \"" + spec.name + "\" to be bound to"};
    }
    if (!IsOwned(Value::Of(target.into))) return NotOwned(spec.name);
    TENON_RETURN_IF_ERROR(CheckDeclaredShape(spec, target.into.shape));
    if (const auto feed = session_->FeedHandedBack(request_, request_.outputs[i])) {
      // The engine would hand the feed back and leave the target as it is.
      TENON_RETURN_IF_ERROR(HandBack(request_.feeds[*feed], target.into, spec));
      continue;
    }
    ValueHandle& made = made_.emplace_back();
    TENON_RETURN_IF_ERROR(MakeTensor(target.into, spec.name, &context_, &made));
    output_names_.push_back(spec.name.c_str());
    outputs_.push_back(made.get());
  }
  for (size_t i = feed_stand_ins; i < context_.stand_ins.size(); ++i) {
    const StandIn& stand_in = context_.stand_ins[i];
    after_.push_back({stand_in.memory.get(), stand_in.original, stand_in.byte_length});
  }
  return {};
}

Status OnnxBoundRun::HandBack(const Value& feed, const Tensor& target, const ValueSpec& spec) {
  const void* from = feed.tensor.data;
  const Shape* shape = &feed.tensor.shape;
  if (feed.kind == Value::Kind::kEngineTensor) {
    const auto* tensor = OnnxEngineTensor::From(feed.engine_tensor.get());
    shape = &tensor->shape();
    from = tensor->host_data();
    if (!tensor->in_host_memory()) {
      auto host = tensor->ToHost();
      if (!host.ok()) return host.status();
      from = host->data;
      fetched_.push_back(std::move(*host));
    }
  }
  if (*shape != target.shape) return WrongShape(spec.name, ShapeToString(*shape), target.shape);
  if (target.byte_length > 0) after_.push_back({from, target.data, target.byte_length});
  return {};
}

Status OnnxBoundRun::MakeBinding() {
  const Api& api = session_->library().api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  TENON_RETURN_IF_ERROR(check(api.CreateIoBinding(session_->session(), Receiver(api, &binding_))));
  for (size_t i = 0; i < inputs_.size(); ++i) {
    TENON_RETURN_IF_ERROR(check(api.BindInput(binding_.get(), input_names_[i], inputs_[i])));
  }
  return BindOutputs();
}

Status OnnxBoundRun::BindOutputs() {
  const Api& api = session_->library().api();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    TENON_RETURN_IF_ERROR(TakeStatus(
        api, api.BindOutput(binding_.get(), output_names_[i], outputs_[i]), StatusCode::kRun));
  }
  return {};
}

Status OnnxBoundRun::Run(CancelToken* cancel) {
  return CatchAll([this, cancel]() -> Status {
    const DeviceTurn turn(session_->takes_turns());
    if (cancel != nullptr && cancel->cancelled()) {
      return {StatusCode::kAborted, "the run was cancelled before it began"};
    }
    for (const Transfer& transfer : before_) {
      std::memcpy(transfer.to, transfer.from, transfer.byte_length);
    }
    // The engine refuses a run that is to compute nothing.
    if (!outputs_.empty()) {
      Status status = session_->CallEngine(
          OnnxSession::OptionsOf(request_), cancel,
          [this](const OrtRunOptions* options) { return CallEngine(options); });
      if (!status.ok()) return Fail(std::move(status), cancel);
    }
    for (const Transfer& transfer : after_) {
      // A feed may be handed back into its own memory.
      std::memmove(transfer.to, transfer.from, transfer.byte_length);
    }
    return {};
  });
}

OrtStatus* OnnxBoundRun::CallEngine(const OrtRunOptions* options) {
  const Api& api = session_->library().api();
  if (binding_ != nullptr) return api.RunWithBinding(session_->session(), options, binding_.get());
  return api.Run(session_->session(), options, input_names_.data(), inputs_.data(), inputs_.size(),
                 output_names_.data(), outputs_.size(), outputs_.data());
}

Status OnnxBoundRun::Fail(Status status, CancelToken* cancel) {
  // The engine keeps in the binding what a run left of its outputs.
  if (binding_ != nullptr) TENON_RETURN_IF_ERROR(BindOutputs());
  request_.cancel = cancel;
  Status explained = session_->ExplainFailure(request_, std::move(status));
  request_.cancel = nullptr;
  return explained;
}

}  // namespace tenon::onnxruntime
