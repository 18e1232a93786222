#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/library.h"
#include "model.h"

namespace tenon::bench {
namespace {

using namespace tenon::onnxruntime;

constexpr OrtElementType kFloat = 1;
constexpr OrtElementType kInt64 = 7;
// Token ids have to lie below the vocabulary's size.
constexpr int64_t kIdLimit = 100;

class OnnxModel : public Model {
 public:
  explicit OnnxModel(const OnnxOptions& options) {
    auto loaded = Library::Load(options.library);
    if (!loaded.ok()) throw std::runtime_error(loaded.status().message());
    library_ = *loaded;
    const Status made = library_->CreateEnvironment();
    if (!made.ok()) throw std::runtime_error(made.message());

    OrtSessionOptions* session_options = nullptr;
    Check(api().CreateSessionOptions(&session_options));
    Check(api().SetIntraOpNumThreads(session_options, options.intra_op_threads));
    Check(api().AddSessionConfigEntry(session_options, "session.intra_op.allow_spinning",
                                      options.spin ? "1" : "0"));
    Check(api().CreateSession(library_->env(), options.path.c_str(), session_options, &session_));
    api().ReleaseSessionOptions(session_options);
    ReadInputs();
    ReadOutputs();
    SetOpenDimensions(options.open_dimensions);
  }

  ~OnnxModel() override { api().ReleaseSession(session_); }

  std::unique_ptr<Call> Prepare(std::string_view mode) override;

  void SetOpenDimensions(const std::vector<int64_t>& sizes) override {
    open_dimensions_ = sizes;
    if (open_dimensions_.empty()) open_dimensions_.push_back(1);
  }

  const Api& api() const { return library_->api(); }
  OrtSession* session() const { return session_; }
  const std::vector<const char*>& input_names() const { return input_names_; }
  const std::vector<const char*>& output_names() const { return output_names_; }

  void Check(OrtStatus* status) const {
    if (status == nullptr) return;
    const std::string message = api().GetErrorMessage(status);
    api().ReleaseStatus(status);
    throw std::runtime_error(message);
  }

  // Fresh values for every input, the same each time.
  std::vector<OrtValue*> MakeInputs() const {
    std::vector<OrtValue*> values;
    size_t open = 0;
    for (const Input& input : inputs_) {
      std::vector<int64_t> shape = input.shape;
      for (int64_t& dimension : shape) {
        if (dimension < 0) {
          dimension = open_dimensions_[std::min(open++, open_dimensions_.size() - 1)];
        }
      }
      OrtValue* value = nullptr;
      Check(api().CreateTensorAsOrtValue(library_->allocator(), shape.data(), shape.size(),
                                         input.type, &value));
      void* data = nullptr;
      Check(api().GetTensorMutableData(value, &data));
      size_t size = 1;
      for (const int64_t dimension : shape) size *= static_cast<size_t>(dimension);
      if (input.type == kFloat) {
        // In [0, 1): neither all the same nor denormal, which would change the time of a run.
        for (size_t i = 0; i < size; ++i) {
          static_cast<float*>(data)[i] = static_cast<float>((i * 7919) % 1024) / 1024.0F;
        }
      } else if (input.type == kInt64) {
        for (size_t i = 0; i < size; ++i) {
          static_cast<int64_t*>(data)[i] = static_cast<int64_t>(i) % kIdLimit;
        }
      } else {
        throw std::runtime_error("expected float32 and int64 inputs");
      }
      values.push_back(value);
    }
    return values;
  }

 private:
  struct Input {
    OrtElementType type;
    std::vector<int64_t> shape;  // -1 where it is open
  };

  void ReadInputs() {
    size_t count = 0;
    Check(api().SessionGetInputCount(session_, &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      // Names are kept for as long as the process lives.
      Check(api().SessionGetInputName(session_, i, library_->allocator(), &name));
      input_names_.push_back(name);
      OrtTypeInfo* type_info = nullptr;
      Check(api().SessionGetInputTypeInfo(session_, i, &type_info));
      const OrtTensorTypeAndShapeInfo* tensor = nullptr;
      Check(api().CastTypeInfoToTensorInfo(type_info, &tensor));
      if (tensor == nullptr) throw std::runtime_error("expected tensor inputs");
      Input input;
      size_t rank = 0;
      Check(api().GetTensorElementType(tensor, &input.type));
      Check(api().GetDimensionsCount(tensor, &rank));
      input.shape.resize(rank);
      Check(api().GetDimensions(tensor, input.shape.data(), rank));
      api().ReleaseTypeInfo(type_info);
      inputs_.push_back(std::move(input));
    }
  }

  void ReadOutputs() {
    size_t count = 0;
    Check(api().SessionGetOutputCount(session_, &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      Check(api().SessionGetOutputName(session_, i, library_->allocator(), &name));
      output_names_.push_back(name);
    }
  }

  std::shared_ptr<Library> library_;
  OrtSession* session_ = nullptr;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  std::vector<Input> inputs_;
  std::vector<int64_t> open_dimensions_;
};

class OnnxCall : public Call {
 public:
  explicit OnnxCall(const OnnxModel& model)
      : model_(model), inputs_(model.MakeInputs()), outputs_(model.output_names().size()) {}

  ~OnnxCall() override {
    for (OrtValue* value : inputs_) model_.api().ReleaseValue(value);
    ReleaseOutputs();
  }

 protected:
  // Where outputs_ are null the engine allocates them.
  void RunSession() {
    model_.Check(model_.api().Run(model_.session(), nullptr, model_.input_names().data(),
                                  inputs_.data(), inputs_.size(), model_.output_names().data(),
                                  outputs_.size(), outputs_.data()));
  }

  void ReleaseOutputs() {
    for (OrtValue*& value : outputs_) {
      if (value != nullptr) model_.api().ReleaseValue(value);
      value = nullptr;
    }
  }

  const OnnxModel& model_;
  std::vector<OrtValue*> inputs_;
  std::vector<OrtValue*> outputs_;
};

class AllocatingCall : public OnnxCall {
 public:
  using OnnxCall::OnnxCall;
  void Run() override {
    RunSession();
    ReleaseOutputs();
  }
};

// The outputs of the first run are those of all that follow.
class PreallocatedCall : public OnnxCall {
 public:
  explicit PreallocatedCall(const OnnxModel& model) : OnnxCall(model) { RunSession(); }
  void Run() override { RunSession(); }
};

class BoundCall : public PreallocatedCall {
 public:
  explicit BoundCall(const OnnxModel& model) : PreallocatedCall(model) {
    const Api& api = model.api();
    model.Check(api.CreateIoBinding(model.session(), &binding_));
    for (size_t i = 0; i < inputs_.size(); ++i) {
      model.Check(api.BindInput(binding_, model.input_names()[i], inputs_[i]));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      model.Check(api.BindOutput(binding_, model.output_names()[i], outputs_[i]));
    }
  }
  ~BoundCall() override { model_.api().ReleaseIoBinding(binding_); }

  void Run() override {
    model_.Check(model_.api().RunWithBinding(model_.session(), nullptr, binding_));
  }

 private:
  OrtIoBinding* binding_ = nullptr;
};

std::unique_ptr<Call> OnnxModel::Prepare(std::string_view mode) {
  if (mode == "run") return std::make_unique<AllocatingCall>(*this);
  if (mode == "preallocated") return std::make_unique<PreallocatedCall>(*this);
  if (mode == "bound") return std::make_unique<BoundCall>(*this);
  return nullptr;
}

}  // namespace

std::unique_ptr<Model> LoadOnnx(const OnnxOptions& options) {
  return std::make_unique<OnnxModel>(options);
}

}  // namespace tenon::bench
