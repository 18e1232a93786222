#include "engines/onnxruntime/engine_tensor.h"

#include <utility>

#include "engines/onnxruntime/device_turn.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

// Messages speak of outputs; this one has no name by now.
constexpr const char* kName = "kept in the engine";

}  // namespace

OnnxEngineTensor::OnnxEngineTensor(std::shared_ptr<const Library> library, ValueHandle value,
                                   TensorDescription description, std::string device,
                                   std::shared_ptr<const void> kept)
    : library_(std::move(library)),
      kept_(std::move(kept)),
      device_(std::move(device)),
      description_(std::move(description)),
      value_(std::move(value)) {}

OnnxEngineTensor::~OnnxEngineTensor() {
  if (!description_.in_host_memory) ReleaseInTurn(std::move(value_), std::move(kept_));
}

Result<std::shared_ptr<const EngineTensor>> OnnxEngineTensor::Create(
    std::shared_ptr<const Library> library, ValueHandle value, TensorDescription description,
    std::shared_ptr<const void> kept) {
  const Api& api = library->api();
  std::string device = "cpu";
  if (!description.in_host_memory) {
    const auto check = [&api](OrtStatus* status) {
      return TakeStatus(api, status, StatusCode::kRun);
    };
    const OrtMemoryInfo* memory = nullptr;
    TENON_RETURN_IF_ERROR(check(api.GetTensorMemoryInfo(value.get(), &memory)));
    const char* name = nullptr;
    TENON_RETURN_IF_ERROR(check(api.MemoryInfoGetName(memory, &name)));
    device = name;
  }
  return std::shared_ptr<const EngineTensor>(
      new OnnxEngineTensor(std::move(library), std::move(value), std::move(description),
                           std::move(device), std::move(kept)));
}

Result<Tensor> OnnxEngineTensor::ToHost() const {
  return CatchAll([this]() -> Result<Tensor> {
    Tensor tensor;
    TENON_RETURN_IF_ERROR(CopyToHost(*library_, value_.get(), description_, kName, &tensor));
    return tensor;
  });
}

}  // namespace tenon::onnxruntime
