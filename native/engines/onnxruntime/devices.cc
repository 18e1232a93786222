#include "engines/onnxruntime/devices.h"

#include <memory>
#include <utility>

#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

std::string Text(const char* words) { return words == nullptr ? "" : words; }

std::vector<std::pair<std::string, std::string>> ReadPairs(const Api& api,
                                                           const OrtKeyValuePairs* pairs) {
  std::vector<std::pair<std::string, std::string>> read;
  if (pairs == nullptr) return read;
  const char* const* keys = nullptr;
  const char* const* values = nullptr;
  size_t count = 0;
  api.GetKeyValuePairs(pairs, &keys, &values, &count);
  for (size_t i = 0; i < count; ++i) read.emplace_back(Text(keys[i]), Text(values[i]));
  return read;
}

}  // namespace

Status EngineDevices(const Library& library, std::vector<const OrtEpDevice*>* devices) {
  const Api& api = library.api();
  devices->clear();
  if (api.GetEpDevices == nullptr) return {};
  const OrtEpDevice* const* list = nullptr;
  size_t count = 0;
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.GetEpDevices(library.env(), &list, &count), StatusCode::kProvider));
  devices->assign(list, list + count);
  return {};
}

std::string DeviceTypeName(OrtHardwareDeviceType type) {
  switch (type) {
    case kOrtHardwareCpu: return "cpu";
    case kOrtHardwareGpu: return "gpu";
    case kOrtHardwareNpu: return "npu";
  }
  return "unknown";
}

Result<std::vector<Device>> ListDevices(const std::shared_ptr<Engine>& engine) {
  return CatchAll([&]() -> Result<std::vector<Device>> {
    const auto& library = static_cast<const Library&>(*engine);
    const Api& api = library.api();
    if (api.GetEpDevices == nullptr) {
      return Status(StatusCode::kUnsupported,
                    "expected ONNX Runtime 1.22 or newer, which lists devices, received " +
                        library.version());
    }
    std::vector<const OrtEpDevice*> listed;
    TENON_RETURN_IF_ERROR(EngineDevices(library, &listed));
    std::vector<Device> devices;
    for (const OrtEpDevice* entry : listed) {
      const OrtHardwareDevice* const hardware = api.EpDevice_Device(entry);
      Device device;
      device.provider = Text(api.EpDevice_EpName(entry));
      device.provider_vendor = Text(api.EpDevice_EpVendor(entry));
      device.type = DeviceTypeName(api.HardwareDevice_Type(hardware));
      device.vendor = Text(api.HardwareDevice_Vendor(hardware));
      device.vendor_id = api.HardwareDevice_VendorId(hardware);
      device.device_id = api.HardwareDevice_DeviceId(hardware);
      device.metadata = ReadPairs(api, api.HardwareDevice_Metadata(hardware));
      for (auto& pair : ReadPairs(api, api.EpDevice_EpMetadata(entry))) {
        device.metadata.push_back(std::move(pair));
      }
      device.options = ReadPairs(api, api.EpDevice_EpOptions(entry));
      devices.push_back(std::move(device));
    }
    return devices;
  });
}

}  // namespace tenon::onnxruntime
