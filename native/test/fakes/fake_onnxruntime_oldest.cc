// The oldest supported ONNX Runtime. What follows the slots it fills is not
// null, as in a real library: every entry points at one function here.

#include <array>

#include "engines/onnxruntime/abi.h"
#include "test/fakes/fake_onnxruntime.h"

using namespace tenon::onnxruntime;

namespace {

void Slot() {}

const void* TENON_ORT_CALL GetApi(uint32_t version) {
  static const std::array<void (*)(), 512> table = [] {
    std::array<void (*)(), 512> slots = {};
    slots.fill(Slot);
    return slots;
  }();
  // As the real one: null for a version above its own.
  return version <= 17 ? table.data() : nullptr;
}
const char* TENON_ORT_CALL GetVersionString() { return "1.17.3"; }
const OrtApiBase base = {GetApi, GetVersionString};

}  // namespace

FAKE_EXPORT const OrtApiBase* TENON_ORT_CALL OrtGetApiBase() { return &base; }
