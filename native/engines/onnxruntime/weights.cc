#include "engines/onnxruntime/weights.h"

#include <map>
#include <mutex>

#include "engines/onnxruntime/options.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {
namespace {

struct Groups {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<WeightGroup>> by_name;
};

Groups& TheGroups() {
  static auto* groups = new Groups;
  return *groups;
}

// The engine's value over the memory of `tensor`, which `weights` keeps.
Status MakeWeight(const Library& library, const std::string& name, const Tensor& tensor,
                  ForeignWeights* weights) {
  const Api& api = library.api();
  const OrtElementType type = ToElementType(tensor.dtype);
  if (tensor.dtype == DType::kString || type == 0) {
    return {StatusCode::kUnsupported,
            "expected numbers of a type that ONNX Runtime has for initializer \"" + name +
                "\", received " + std::string(DTypeName(tensor.dtype))};
  }
  ValueHandle value;
  static char nothing = 0;
  TENON_RETURN_IF_ERROR(WithSubject(
      TakeStatus(api,
                 api.CreateTensorWithDataAsOrtValue(
                     library.cpu_memory(), tensor.data == nullptr ? &nothing : tensor.data,
                     tensor.byte_length, tensor.shape.data(), tensor.shape.size(), type,
                     Receiver(api, &value)),
                 StatusCode::kInvalidArgument),
      "initializer \"" + name + "\""));
  weights->memory.push_back(tensor.owner);
  weights->values.push_back(std::move(value));
  return {};
}

Status AddExternalFiles(const Library& library, const SessionOptions& options,
                        OrtSessionOptions* session, ForeignWeights* weights) {
  const Api& api = library.api();
  if (options.external_files.empty()) return {};
  if (api.AddExternalInitializersFromFilesInMemory == nullptr) {
    return {StatusCode::kUnsupported,
            "expected ONNX Runtime 1.18 or newer for external data in memory, received " +
                library.version()};
  }
  std::vector<std::basic_string<OrtPathChar>> names;
  std::vector<const OrtPathChar*> name_pointers;
  std::vector<char*> buffers;
  std::vector<size_t> lengths;
  names.reserve(options.external_files.size());
  for (const auto& [name, bytes] : options.external_files) {
    names.push_back(ToOrtPath(name));
    name_pointers.push_back(names.back().c_str());
    // The engine takes char* and does not write.
    buffers.push_back(static_cast<char*>(const_cast<void*>(bytes.data)));
    lengths.push_back(bytes.byte_length);
    weights->memory.push_back(bytes.owner);
  }
  return WithSubject(
      TakeStatus(api,
                 api.AddExternalInitializersFromFilesInMemory(
                     session, name_pointers.data(), buffers.data(), lengths.data(), lengths.size()),
                 StatusCode::kInvalidArgument),
      "external data in memory");
}

}  // namespace

Result<std::shared_ptr<WeightGroup>> WeightGroup::Named(const Library& library,
                                                        const std::string& name) {
  const Api& api = library.api();
  Groups& groups = TheGroups();
  std::lock_guard<std::mutex> lock(groups.mutex);
  if (auto group = groups.by_name[name].lock()) return group;
  auto group = std::make_shared<WeightGroup>();
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.CreatePrepackedWeightsContainer(Receiver(api, &group->container_)),
                 StatusCode::kInternal));
  std::erase_if(groups.by_name, [](const auto& entry) { return entry.second.expired(); });
  groups.by_name[name] = group;
  return group;
}

Status AddWeights(const Library& library, const SessionOptions& options, OrtSessionOptions* session,
                  ForeignWeights* weights) {
  const Api& api = library.api();
  for (const auto& [name, tensor] : options.initializers) {
    TENON_RETURN_IF_ERROR(MakeWeight(library, name, tensor, weights));
    TENON_RETURN_IF_ERROR(WithSubject(
        TakeStatus(api, api.AddInitializer(session, name.c_str(), weights->values.back().get()),
                   StatusCode::kInvalidArgument),
        "initializer \"" + name + "\""));
  }
  std::vector<const char*> names;
  std::vector<const OrtValue*> values;
  for (const auto& [name, tensor] : options.external_initializers) {
    TENON_RETURN_IF_ERROR(MakeWeight(library, name, tensor, weights));
    names.push_back(name.c_str());
    values.push_back(weights->values.back().get());
  }
  if (!names.empty()) {
    TENON_RETURN_IF_ERROR(WithSubject(
        TakeStatus(api,
                   api.AddExternalInitializers(session, names.data(), values.data(), names.size()),
                   StatusCode::kInvalidArgument),
        "external initializers"));
  }
  return AddExternalFiles(library, options, session, weights);
}

Status OpenLoraAdapters(const Library& library, const SessionOptions& options,
                        LoraAdapters* adapters) {
  const Api& api = library.api();
  if (!options.lora_adapters.empty() && api.CreateLoraAdapter == nullptr) {
    return {StatusCode::kUnsupported,
            "expected ONNX Runtime 1.20 or newer for LoRA adapters, received " + library.version()};
  }
  for (const LoraAdapter& adapter : options.lora_adapters) {
    LoraAdapterHandle handle;
    // The engine copies what it reads; without an allocator it stays in host memory.
    OrtStatus* const status =
        adapter.path.empty()
            ? api.CreateLoraAdapterFromArray(adapter.bytes.data, adapter.bytes.byte_length,
                                             /*allocator=*/nullptr, Receiver(api, &handle))
            : api.CreateLoraAdapter(ToOrtPath(adapter.path).c_str(), /*allocator=*/nullptr,
                                    Receiver(api, &handle));
    TENON_RETURN_IF_ERROR(WithSubject(TakeStatus(api, status, StatusCode::kInvalidArgument),
                                      "LoRA adapter \"" + adapter.name + "\""));
    adapters->emplace_back(adapter.name, std::move(handle));
  }
  return {};
}

}  // namespace tenon::onnxruntime
