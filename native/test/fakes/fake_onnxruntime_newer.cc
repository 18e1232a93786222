// An ONNX Runtime newer than any that Tenon knows, which still has the tables of
// earlier versions.

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
  return version <= 99 ? table.data() : nullptr;
}
const char* TENON_ORT_CALL GetVersionString() { return "1.99.0"; }
const OrtApiBase base = {GetApi, GetVersionString};

}  // namespace

FAKE_EXPORT const OrtApiBase* TENON_ORT_CALL OrtGetApiBase() { return &base; }
