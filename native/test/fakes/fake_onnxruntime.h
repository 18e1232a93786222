#pragma once

// How a fake ONNX Runtime exports its one symbol, OrtGetApiBase.
#ifdef _WIN32
#define FAKE_EXPORT extern "C" __declspec(dllexport)
#else
#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))
#endif
