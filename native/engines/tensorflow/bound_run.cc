#include "engines/tensorflow/bound_run.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engines/tensorflow/guard.h"
#include "engines/tensorflow/tensor.h"

namespace tenon::tensorflow {
namespace {

// A binding outlives the call that made it, and so must what it was given.
Status CheckOwned(const Tensor& tensor, const std::string& name) {
  if (tensor.byte_length == 0 || tensor.owner != nullptr) return {};
  return {StatusCode::kInternal,
          "expected memory with an owner to bind \"" + name + "\" to, received borrowed memory"};
}

}  // namespace

TensorFlowBoundRun::TensorFlowBoundRun(std::shared_ptr<TensorFlowSession> session,
                                       const RunRequest& request)
    : session_(std::move(session)),
      api_(session_->api_),
      endpoints_(session_->endpoints_[request.signature]),
      options_owner_(request.options),
      options_(TensorFlowSession::OptionsOf(request)),
      signature_(session_->info_.signatures[request.signature]),
      status_(api_) {}

Result<std::unique_ptr<BoundRun>> TensorFlowBoundRun::Create(
    std::shared_ptr<TensorFlowSession> session, const RunRequest& request) {
  auto bound = std::make_unique<TensorFlowBoundRun>(std::move(session), request);
  TENON_RETURN_IF_ERROR(bound->Prepare(request));
  return std::unique_ptr<BoundRun>(std::move(bound));
}

Status TensorFlowBoundRun::Prepare(const RunRequest& request) {
  if (request.targets.size() != request.outputs.size()) {
    return {StatusCode::kInternal, "expected a tensor for each output of a binding"};
  }
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    const std::string& name = signature_.outputs[request.outputs[i]].name;
    if (request.targets[i].kind != OutputTarget::Kind::kInto) {
      return {StatusCode::kInternal, "expected a tensor for \"" + name + "\" to be bound to"};
    }
    TENON_RETURN_IF_ERROR(CheckOwned(request.targets[i].into, name));
    outputs_.push_back(endpoints_.outputs[request.outputs[i]]);
    output_indices_.push_back(request.outputs[i]);
    targets_.push_back(request.targets[i].into);
  }
  fetched_.resize(outputs_.size(), nullptr);

  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const Value& feed = request.feeds[i];
    const std::string& name = signature_.inputs[request.inputs[i]].name;
    inputs_.push_back(endpoints_.inputs[request.inputs[i]]);
    feeds_.push_back(nullptr);
    if (feed.kind == Value::Kind::kEngineTensor) {
      feeds_.back() = TensorFlowEngineTensor::Of(feed)->tensor();
      engine_feeds_.push_back(feed.engine_tensor);
      continue;
    }
    TENON_RETURN_IF_ERROR(CheckOwned(feed.tensor, name));
    auto fed = ToTensorFlow(api_, feed.tensor, FeedMemory::kCopied, name);
    if (!fed.ok()) return fed.status();
    feeds_.back() = fed->tensor.get();
    if (!CanChange(feed.tensor)) {
      fixed_feeds_.push_back(std::move(*fed));
      continue;
    }
    const bool overlaps =
        std::any_of(targets_.begin(), targets_.end(),
                    [&feed](const Tensor& target) { return Overlaps(feed.tensor, target); });
    host_feeds_.push_back({.input = request.inputs[i],
                           .at = i,
                           .source = feed.tensor,
                           .may_pass = !overlaps && CanPass(feed.tensor),
                           .feed = std::move(*fed)});
  }
  return {};
}

// Gets a feed in host memory ready for the next run.
Status TensorFlowBoundRun::Refresh(HostFeed* host) {
  const bool pass = host->may_pass && session_->LetsGoOf(endpoints_, host->input);
  if (host->feed.tensor != nullptr && !pass) {
    Refill(api_, host->source, host->feed.tensor.get());
    return {};
  }
  auto feed = ToTensorFlow(api_, host->source, pass ? FeedMemory::kPassed : FeedMemory::kCopied,
                           signature_.inputs[host->input].name);
  if (!feed.ok()) return feed.status();
  host->feed = std::move(*feed);
  feeds_[host->at] = host->feed.tensor.get();
  return {};
}

Status TensorFlowBoundRun::Run(CancelToken* cancel) {
  return Guarded([&]() -> Status {
    for (HostFeed& host : host_feeds_) TENON_RETURN_IF_ERROR(Refresh(&host));
    const Status status = RunOnce(cancel);
    for (TF_Tensor*& tensor : fetched_) {
      if (tensor != nullptr) api_.TF_DeleteTensor(std::exchange(tensor, nullptr));
    }
    for (HostFeed& host : host_feeds_) {
      const bool kept = session_->NoteFeed(&endpoints_, host.input, &host.feed, status.ok());
      if (kept) host.feed.tensor.reset();
    }
    return status;
  });
}

Status TensorFlowBoundRun::RunOnce(CancelToken* cancel) {
  TENON_RETURN_IF_ERROR(session_->Invoke(&endpoints_,
                                         {inputs_.data(), feeds_.data(), inputs_.size(),
                                          outputs_.data(), fetched_.data(), outputs_.size()},
                                         options_, cancel, &status_));
  // Nothing is written unless everything can be.
  for (size_t i = 0; i < fetched_.size(); ++i) {
    TENON_RETURN_IF_ERROR(
        CheckInto(api_, fetched_[i], targets_[i], signature_.outputs[output_indices_[i]].name));
  }
  for (size_t i = 0; i < fetched_.size(); ++i) CopyInto(api_, fetched_[i], targets_[i]);
  return {};
}

}  // namespace tenon::tensorflow
