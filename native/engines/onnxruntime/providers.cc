#include "engines/onnxruntime/providers.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engines/onnxruntime/devices.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

constexpr std::string_view kEnding = "executionprovider";
constexpr std::string_view kCpu = "CPUExecutionProvider";
constexpr std::string_view kCuda = "CUDAExecutionProvider";
constexpr std::string_view kTensorRt = "TensorrtExecutionProvider";
constexpr std::string_view kDml = "DmlExecutionProvider";
constexpr std::string_view kWebGpu = "WebGpuExecutionProvider";

// The names that SessionOptionsAppendExecutionProvider knew before it learned
// the full ones.
constexpr std::array<std::pair<std::string_view, const char*>, 11> kAppendNames = {{
    {"AzureExecutionProvider", "AZURE"},
    {"CoreMLExecutionProvider", "CoreML"},
    {"DmlExecutionProvider", "DML"},
    {"JsExecutionProvider", "JS"},
    {"OpenVINOExecutionProvider", "OpenVINO"},
    {"QNNExecutionProvider", "QNN"},
    {"SNPEExecutionProvider", "SNPE"},
    {"VitisAIExecutionProvider", "VitisAI"},
    {"WebGpuExecutionProvider", "WebGPU"},
    {"WebNNExecutionProvider", "WEBNN"},
    {"XnnpackExecutionProvider", "XNNPACK"},
}};

// "cuda" for "CUDAExecutionProvider" and for "cuda".
std::string ShortName(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (text.size() > kEnding.size() && text.ends_with(kEnding)) {
    text.resize(text.size() - kEnding.size());
  }
  return text;
}

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

// The options as the two arrays that the C functions take.
struct OptionArrays {
  explicit OptionArrays(const ExecutionProvider& provider) {
    for (const auto& [key, value] : provider.options) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
  std::vector<const char*> keys;
  std::vector<const char*> values;
};

Status SetCpuOptions(const Api& api, const ExecutionProvider& provider,
                     OrtSessionOptions* options) {
  for (const auto& [key, value] : provider.options) {
    if (key != "use_arena" || (value != "0" && value != "1")) {
      return {StatusCode::kInvalidArgument,
              "expected \"use_arena\" with \"0\" or \"1\" as an option of provider \"cpu\", "
              "received \"" +
                  key + "\" with \"" + value + "\""};
    }
    TENON_RETURN_IF_ERROR(TakeStatus(
        api, value == "1" ? api.EnableCpuMemArena(options) : api.DisableCpuMemArena(options),
        StatusCode::kProvider));
  }
  return {};
}

// CUDA and TensorRT live in libraries of their own, which take their options as
// an object made by the main library and not as bare strings.
Status AppendCuda(const Api& api, const OptionArrays& arrays, OrtSessionOptions* options) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kProvider);
  };
  CudaOptionsHandle cuda;
  TENON_RETURN_IF_ERROR(check(api.CreateCUDAProviderOptions(Receiver(api, &cuda))));
  TENON_RETURN_IF_ERROR(check(api.UpdateCUDAProviderOptions(
      cuda.get(), arrays.keys.data(), arrays.values.data(), arrays.keys.size())));
  return check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda.get()));
}

Status AppendTensorRt(const Api& api, const OptionArrays& arrays, OrtSessionOptions* options) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kProvider);
  };
  TensorRtOptionsHandle tensorrt;
  TENON_RETURN_IF_ERROR(check(api.CreateTensorRTProviderOptions(Receiver(api, &tensorrt))));
  TENON_RETURN_IF_ERROR(check(api.UpdateTensorRTProviderOptions(
      tensorrt.get(), arrays.keys.data(), arrays.values.data(), arrays.keys.size())));
  return check(api.SessionOptionsAppendExecutionProvider_TensorRT_V2(options, tensorrt.get()));
}

// By the devices that a provider names for itself, which is how those of a
// provider library are reached, and how one device among several is chosen.
Status AppendDevices(const Library& library, const ExecutionProvider& provider,
                     const OptionArrays& arrays, OrtSessionOptions* options) {
  const Api& api = library.api();
  const std::string wanted = ShortName(provider.name);
  std::vector<const OrtEpDevice*> all;
  TENON_RETURN_IF_ERROR(EngineDevices(library, &all));
  std::vector<std::string> names = library.providers();
  std::vector<const OrtEpDevice*> own;
  for (const OrtEpDevice* device : all) {
    const std::string name = api.EpDevice_EpName(device);
    if (ShortName(name) == wanted) own.push_back(device);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (own.empty()) {
    return {StatusCode::kProvider,
            (provider.devices.empty() ? "expected an execution provider among " + Join(names)
                                      : "expected a provider with devices") +
                ", received \"" + provider.name + "\""};
  }
  std::vector<const OrtEpDevice*> chosen;
  for (const size_t index : provider.devices) {
    if (index >= own.size()) {
      return {StatusCode::kProvider, "expected a device of \"" + provider.name + "\" below " +
                                         std::to_string(own.size()) + ", received " +
                                         std::to_string(index)};
    }
    chosen.push_back(own[index]);
  }
  if (chosen.empty()) chosen = own;
  return TakeStatus(api,
                    api.SessionOptionsAppendExecutionProvider_V2(
                        options, library.env(), chosen.data(), chosen.size(), arrays.keys.data(),
                        arrays.values.data(), arrays.keys.size()),
                    StatusCode::kProvider);
}

}  // namespace

std::string FindProvider(std::string_view name, const std::vector<std::string>& available) {
  const std::string wanted = ShortName(name);
  const auto found =
      std::find_if(available.begin(), available.end(),
                   [&wanted](const std::string& full) { return ShortName(full) == wanted; });
  return found == available.end() ? "" : *found;
}

bool IsCpuProvider(std::string_view name) { return ShortName(name) == ShortName(kCpu); }

Status AppendProvider(const Library& library, const ExecutionProvider& provider,
                      OrtSessionOptions* options) {
  const Api& api = library.api();
  const std::string name = FindProvider(provider.name, library.providers());
  const OptionArrays arrays(provider);
  if (name.empty() || !provider.devices.empty()) {
    return AppendDevices(library, provider, arrays, options);
  }
  if (name == kCpu) return SetCpuOptions(api, provider, options);
  if (name == kCuda) return AppendCuda(api, arrays, options);
  if (name == kTensorRt) return AppendTensorRt(api, arrays, options);
  if (name == kDml) {
    // DirectML plans its own memory and refuses a session that does so too.
    TENON_RETURN_IF_ERROR(TakeStatus(api, api.DisableMemPattern(options), StatusCode::kProvider));
    TENON_RETURN_IF_ERROR(TakeStatus(api, api.SetSessionExecutionMode(options, kOrtSequential),
                                     StatusCode::kProvider));
  }
  const auto known = std::find_if(kAppendNames.begin(), kAppendNames.end(),
                                  [&name](const auto& row) { return row.first == name; });
  return TakeStatus(api,
                    api.SessionOptionsAppendExecutionProvider(
                        options, known == kAppendNames.end() ? name.c_str() : known->second,
                        arrays.keys.data(), arrays.values.data(), arrays.keys.size()),
                    StatusCode::kProvider);
}

bool TakesTurns(const SessionOptions& options) {
  return std::any_of(options.providers.begin(), options.providers.end(),
                     [](const ExecutionProvider& provider) {
                       return ShortName(provider.name) == ShortName(kWebGpu);
                     });
}

bool RunsOnCpuOnly(const SessionOptions& options) {
  return std::all_of(
      options.providers.begin(), options.providers.end(),
      [](const ExecutionProvider& provider) { return IsCpuProvider(provider.name); });
}

}  // namespace tenon::onnxruntime
