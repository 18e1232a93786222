// A library that can be opened and is no ONNX Runtime.

#include "test/fakes/fake_onnxruntime.h"

FAKE_EXPORT int SomethingElse() { return 0; }
