// A library of execution providers without any.

#include <cstddef>

#include "engines/onnxruntime/abi.h"
#include "test/fakes/fake_onnxruntime.h"

using namespace tenon::onnxruntime;

FAKE_EXPORT OrtStatus* TENON_ORT_CALL CreateEpFactories(const char*, const OrtApiBase*, const void*,
                                                        void**, size_t, size_t* count) {
  *count = 0;
  return nullptr;
}

FAKE_EXPORT OrtStatus* TENON_ORT_CALL ReleaseEpFactory(void*) { return nullptr; }
