#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/session.h"
#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/handle.h"
#include "engines/tensorflow/session.h"
#include "engines/tensorflow/tensor.h"

namespace tenon::tensorflow {

// A call of a TensorFlow session whose tensors are made once: TF_SessionRun takes
// none of its inputs over. Outputs are copied, TensorFlow writes them nowhere else.
//
// A feed in host memory may have other contents at each run. It is copied into a
// tensor made once; a copy that TensorFlow kept is left to it, and the next run
// makes another. A feed that can be passed (see CanPass), once runs have shown that
// the signature keeps nothing of this input, is passed instead. Its tensor is made
// anew each time, for only one that is gone shows whether its memory was kept.
// Feeds that cannot change, strings and engine tensors, are fed as they are.
//
// Where a feed and a target overlap, as for a state that is stepped in place, the
// feed is copied: an output that is that feed would change while outputs are written.
class TensorFlowBoundRun : public BoundRun {
 public:
  // `request` has passed the checks of TensorFlowSession::Bind.
  static Result<std::unique_ptr<BoundRun>> Create(std::shared_ptr<TensorFlowSession> session,
                                                  const RunRequest& request);

  // The session lives as long as this; the last one to go closes it.
  TensorFlowBoundRun(std::shared_ptr<TensorFlowSession> session, const RunRequest& request);

  Status Run(CancelToken* cancel) override;

 private:
  struct HostFeed {
    size_t input;  // of the signature
    size_t at;     // of feeds_
    Tensor source;
    bool may_pass;
    Feed feed;  // empty where the last one was passed, or kept
  };

  Status Prepare(const RunRequest& request);
  Status Refresh(HostFeed* host);
  Status RunOnce(CancelToken* cancel);

  // First, so that it goes last: what follows refers to it, or is deleted by its library.
  const std::shared_ptr<TensorFlowSession> session_;
  const Api& api_;
  TensorFlowSession::Endpoints& endpoints_;
  const std::shared_ptr<const EngineRunOptions> options_owner_;
  const RunOptions* const options_;
  const Signature& signature_;
  CallStatus status_;

  std::vector<TF_Output> inputs_;
  std::vector<TF_Tensor*> feeds_;  // what inputs_ are fed, owned by the next three
  std::vector<HostFeed> host_feeds_;
  std::vector<Feed> fixed_feeds_;
  std::vector<std::shared_ptr<const EngineTensor>> engine_feeds_;

  std::vector<TF_Output> outputs_;
  std::vector<size_t> output_indices_;  // of the signature
  std::vector<Tensor> targets_;
  std::vector<TF_Tensor*> fetched_;  // null between runs
};

}  // namespace tenon::tensorflow
