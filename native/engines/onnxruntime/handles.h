#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "engines/onnxruntime/abi.h"

namespace tenon::onnxruntime {

// Owners of the engine's C objects: one type for each, which releases through
// the table the object came from. The table must outlive the owner; that of an
// opened library is never freed.
template <auto Release>
struct Releaser {
  const Api* api = nullptr;

  template <typename T>
  void operator()(T* object) const {
    (api->*Release)(object);
  }
};

template <typename T, auto Release>
using Handle = std::unique_ptr<T, Releaser<Release>>;

using CudaOptionsHandle = Handle<OrtCUDAProviderOptionsV2, &Api::ReleaseCUDAProviderOptions>;
using IoBindingHandle = Handle<OrtIoBinding, &Api::ReleaseIoBinding>;
using LoraAdapterHandle = Handle<OrtLoraAdapter, &Api::ReleaseLoraAdapter>;
using MemoryInfoHandle = Handle<OrtMemoryInfo, &Api::ReleaseMemoryInfo>;
using ModelMetadataHandle = Handle<OrtModelMetadata, &Api::ReleaseModelMetadata>;
using PrepackedWeightsHandle =
    Handle<OrtPrepackedWeightsContainer, &Api::ReleasePrepackedWeightsContainer>;
using RunOptionsHandle = Handle<OrtRunOptions, &Api::ReleaseRunOptions>;
using SessionHandle = Handle<OrtSession, &Api::ReleaseSession>;
using SessionOptionsHandle = Handle<OrtSessionOptions, &Api::ReleaseSessionOptions>;
using StatusHandle = Handle<OrtStatus, &Api::ReleaseStatus>;
using TensorRtOptionsHandle =
    Handle<OrtTensorRTProviderOptionsV2, &Api::ReleaseTensorRTProviderOptions>;
using TensorInfoHandle = Handle<OrtTensorTypeAndShapeInfo, &Api::ReleaseTensorTypeAndShapeInfo>;
using ThreadingOptionsHandle = Handle<OrtThreadingOptions, &Api::ReleaseThreadingOptions>;
using TypeInfoHandle = Handle<OrtTypeInfo, &Api::ReleaseTypeInfo>;
using ValueHandle = Handle<OrtValue, &Api::ReleaseValue>;

// The `T** out` argument of a C function whose result a handle is to own:
//   api.CreateRunOptions(Receiver(api, &handle))
// The handle has the object by the end of the full expression.
template <typename T, auto Release>
class Receiver {
 public:
  Receiver(const Api& api, Handle<T, Release>* handle) : api_(api), handle_(handle) {}
  ~Receiver() { *handle_ = Handle<T, Release>(object_, Releaser<Release>{&api_}); }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  operator T**() { return &object_; }  // NOLINT: implicit by design

 private:
  const Api& api_;
  Handle<T, Release>* handle_;
  T* object_ = nullptr;
};

// Memory of the engine's allocator: a text, or an array of them.
template <typename T>
struct Allocated {
  const Api& api;
  OrtAllocator* allocator;
  T* memory = nullptr;

  Allocated(const Api& from, OrtAllocator* with) : api(from), allocator(with) {}
  ~Allocated() {
    // A status here could only say that the allocator is null.
    if (memory != nullptr) StatusHandle(api.AllocatorFree(allocator, memory), {&api}).reset();
  }
  Allocated(const Allocated&) = delete;
  Allocated& operator=(const Allocated&) = delete;
};

}  // namespace tenon::onnxruntime
