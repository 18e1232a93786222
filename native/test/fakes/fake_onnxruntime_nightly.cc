// An ONNX Runtime whose version cannot be read.

#include "engines/onnxruntime/abi.h"
#include "test/fakes/fake_onnxruntime.h"

using namespace tenon::onnxruntime;

namespace {

const void* TENON_ORT_CALL GetApi(uint32_t) { return nullptr; }
const char* TENON_ORT_CALL GetVersionString() { return "nightly"; }
const OrtApiBase base = {GetApi, GetVersionString};

}  // namespace

FAKE_EXPORT const OrtApiBase* TENON_ORT_CALL OrtGetApiBase() { return &base; }
