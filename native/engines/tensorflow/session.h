#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/model_info.h"
#include "core/status.h"
#include "engines/session.h"
#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/engine.h"
#include "engines/tensorflow/handle.h"
#include "engines/tensorflow/library.h"
#include "engines/tensorflow/run_place.h"
#include "engines/tensorflow/tensor.h"

namespace tenon::tensorflow {

// A loaded graph. TF_SessionRun may be called by many threads at once, and all
// that changes here after Load is an atomic, so runs need no lock.
//
// RunRequest::cancel is looked at before a run only: TensorFlow has no way to
// stop one run of a session.
class TensorFlowSession : public Session, public std::enable_shared_from_this<TensorFlowSession> {
 public:
  static Result<std::shared_ptr<Session>> Load(std::shared_ptr<Library> library,
                                               const ModelSource& source,
                                               const SessionOptions& options);

  // Runs must have ended. What outputs hold stays valid.
  ~TensorFlowSession() override;

  const ModelInfo& info() const override { return info_; }
  Result<std::vector<Value>> Run(const RunRequest& request) override;
  Result<std::unique_ptr<BoundRun>> Bind(const RunRequest& request) override;

 private:
  friend class TensorFlowBoundRun;

  // Whether a signature keeps what an input is fed. Assigning a feed to a variable
  // makes the feed's memory the variable's: whoever wrote to that tensor later would
  // change the model. The graph does not tell (functions hide what they do, custom
  // operations all the more), so the first run copies its feeds and sees whether
  // TensorFlow lets go of the copies; from then on they are passed by pointer, or
  // copied. A signature that assigns only now and then is found out when it does,
  // and what it kept until then is still the caller's memory.
  enum class Keeping : uint8_t { kUnknown, kNo, kYes };

  // Graph tensors of a signature, by the same indices as ModelInfo's; without an
  // operation where the value is not one tensor, or not one Tenon can hold.
  struct Endpoints {
    std::vector<TF_Output> inputs;
    std::vector<TF_Output> outputs;
    std::unique_ptr<std::atomic<Keeping>[]> keeping;  // one for each input
    RunPlace place;
  };

  // What goes into TF_SessionRun, and what it gives.
  struct Call {
    const TF_Output* inputs = nullptr;
    TF_Tensor* const* feeds = nullptr;
    size_t input_count = 0;
    const TF_Output* outputs = nullptr;
    TF_Tensor** fetched = nullptr;  // all null before; what is set afterwards is the caller's
    size_t output_count = 0;
  };
  // Fails with kAborted, without a run, where `cancel` says so, and with kRun.
  // `options` may be null.
  Status Invoke(Endpoints* endpoints, const Call& call, const RunOptions* options,
                CancelToken* cancel, CallStatus* status);
  Status InvokeWith(const RunOptions& options, const Call& call, CallStatus* status);
  // The options of a request that was checked; null where it has none.
  static const RunOptions* OptionsOf(const RunRequest& request) {
    return static_cast<const RunOptions*>(request.options.get());
  }

  // kUnsupported where one of them is no tensor.
  Status CheckEndpoints(const RunRequest& request) const;
  // kShape where TensorFlow would end the process, see GraphFacts::rank_bound.
  Status CheckRank(const Value& feed, const ValueSpec& spec) const;

  // Whether runs have shown that what `input` is fed is let go of.
  static bool LetsGoOf(const Endpoints& endpoints, size_t input) {
    return endpoints.keeping[input].load(std::memory_order_relaxed) == Keeping::kNo;
  }
  // What a run showed of the feed of `input` (see IsKept). Returns whether it was kept.
  bool NoteFeed(Endpoints* endpoints, size_t input, Feed* feed, bool succeeded);

  Result<std::vector<Value>> RunChecked(const RunRequest& request, Endpoints* endpoints,
                                        std::vector<Feed>* feeds);

  explicit TensorFlowSession(std::shared_ptr<Library> library);

  Status LoadOpLibraries(const std::vector<std::string>& paths);
  Status LoadSavedModel(const ModelSource& source, const TF_SessionOptions* options);
  Status LoadFrozenGraph(const std::string& path, const TF_SessionOptions* options);
  Status Resolve(const ModelSource& source);
  Status ResolveBinding(const Binding& binding, const std::string& where, ValueSpec* spec,
                        TF_Output* output);
  Status FillShape(TF_Output output, ValueSpec* spec);

  const std::shared_ptr<Library> library_;
  const Api& api_;
  Handle<TF_Graph> graph_;
  TF_Session* session_ = nullptr;  // its deletion takes a status: see the destructor
  ModelInfo info_;
  std::string rank_bound_;
  std::deque<Endpoints> endpoints_;  // does not move its elements
};

}  // namespace tenon::tensorflow
