#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// The engine's own list of the devices that its providers can use; it lives as
// long as the environment, or until a provider library is registered. Empty
// before 1.22.
Status EngineDevices(const Library& library, std::vector<const OrtEpDevice*>* devices);

// "gpu" and so on.
std::string DeviceTypeName(OrtHardwareDeviceType type);

}  // namespace tenon::onnxruntime
