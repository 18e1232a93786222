#include <stdexcept>
#include <utility>

#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/config.h"
#include "engines/tensorflow/library.h"
#include "model.h"

namespace tenon::bench {
namespace {

using namespace tenon::tensorflow;

class TensorFlowModel : public Model {
 public:
  explicit TensorFlowModel(const TensorFlowOptions& options) {
    auto loaded = Library::Load(options.library);
    if (!loaded.ok()) throw std::runtime_error(loaded.status().message());
    library_ = *loaded;
    status_ = api().TF_NewStatus();
    graph_ = api().TF_NewGraph();

    SessionOptions threads;
    threads.intra_op_threads = options.intra_op_threads;
    threads.inter_op_threads = options.inter_op_threads;
    std::string config;
    const Status made = MakeConfig(threads, &config);
    if (!made.ok()) throw std::runtime_error(made.message());
    TF_SessionOptions* session_options = api().TF_NewSessionOptions();
    api().TF_SetConfig(session_options, config.data(), config.size(), status_);
    Check(status_);
    const char* tag = "serve";
    session_ = api().TF_LoadSessionFromSavedModel(session_options, nullptr, options.folder.c_str(),
                                                  &tag, 1, graph_, nullptr, status_);
    Check(status_);
    api().TF_DeleteSessionOptions(session_options);
    input_ = Find(options.input);
    output_ = Find(options.output);
  }

  // The session lives as long as the process: there is one model in it.
  ~TensorFlowModel() override = default;

  std::unique_ptr<Call> Prepare(std::string_view mode) override;
  void SetOpenDimensions(const std::vector<int64_t>&) override {
    throw std::runtime_error("expected an ONNX model for open dimensions");
  }

  const Api& api() const { return library_->api(); }
  TF_Session* session() const { return session_; }
  TF_Output input() const { return input_; }
  TF_Output output() const { return output_; }

  void Check(TF_Status* status) const {
    if (api().TF_GetCode(status) != TF_OK) throw std::runtime_error(api().TF_Message(status));
  }

 private:
  TF_Output Find(const std::string& name) const {
    TF_Operation* operation = api().TF_GraphOperationByName(graph_, name.c_str());
    if (operation == nullptr) throw std::runtime_error("no operation \"" + name + "\"");
    return {operation, 0};
  }

  std::shared_ptr<Library> library_;
  TF_Status* status_ = nullptr;
  TF_Graph* graph_ = nullptr;
  TF_Session* session_ = nullptr;
  TF_Output input_{};
  TF_Output output_{};
};

// One float32 of shape [1] in, whatever comes out.
class SessionRunCall : public Call {
 public:
  explicit SessionRunCall(const TensorFlowModel& model)
      : model_(model), status_(model.api().TF_NewStatus()) {
    const int64_t shape[] = {1};
    feed_ = model.api().TF_AllocateTensor(TF_FLOAT, shape, 1, sizeof(float));
    *static_cast<float*>(model.api().TF_TensorData(feed_)) = 3.0F;
  }

  ~SessionRunCall() override {
    model_.api().TF_DeleteTensor(feed_);
    model_.api().TF_DeleteStatus(status_);
  }

  void Run() override {
    const TF_Output input = model_.input();
    const TF_Output output = model_.output();
    TF_Tensor* result = nullptr;
    model_.api().TF_SessionRun(model_.session(), nullptr, &input, &feed_, 1, &output, &result, 1,
                               nullptr, 0, nullptr, status_);
    model_.Check(status_);
    model_.api().TF_DeleteTensor(result);
  }

 private:
  const TensorFlowModel& model_;
  TF_Status* const status_;
  TF_Tensor* feed_ = nullptr;
};

std::unique_ptr<Call> TensorFlowModel::Prepare(std::string_view mode) {
  return mode == "run" ? std::make_unique<SessionRunCall>(*this) : nullptr;
}

}  // namespace

std::unique_ptr<Model> LoadTensorFlow(const TensorFlowOptions& options) {
  return std::make_unique<TensorFlowModel>(options);
}

}  // namespace tenon::bench
