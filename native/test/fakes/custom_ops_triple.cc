// A library of custom operators that works: Triple of the domain "tenon.test",
// three times each float.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/onnxruntime/abi.h"
#include "test/fakes/fake_onnxruntime.h"

using namespace tenon::onnxruntime;

namespace {

struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;

constexpr uint32_t kVersion = 10;  // of the struct below: it grew with later ones
constexpr OrtElementType kFloat = 1;
constexpr int kRequired = 0;  // OrtCustomOpInputOutputCharacteristic

// OrtCustomOp of onnxruntime_c_api.h, as far as version 10 has it.
struct CustomOp {
  uint32_t version;
  void*(TENON_ORT_CALL* CreateKernel)(const CustomOp*, const void* api, const OrtKernelInfo*);
  const char*(TENON_ORT_CALL* GetName)(const CustomOp*);
  const char*(TENON_ORT_CALL* GetExecutionProviderType)(const CustomOp*);
  OrtElementType(TENON_ORT_CALL* GetInputType)(const CustomOp*, size_t index);
  size_t(TENON_ORT_CALL* GetInputTypeCount)(const CustomOp*);
  OrtElementType(TENON_ORT_CALL* GetOutputType)(const CustomOp*, size_t index);
  size_t(TENON_ORT_CALL* GetOutputTypeCount)(const CustomOp*);
  void(TENON_ORT_CALL* KernelCompute)(void* kernel, OrtKernelContext*);
  void(TENON_ORT_CALL* KernelDestroy)(void* kernel);
  int(TENON_ORT_CALL* GetInputCharacteristic)(const CustomOp*, size_t index);
  int(TENON_ORT_CALL* GetOutputCharacteristic)(const CustomOp*, size_t index);
};

void* const* table = nullptr;

template <typename Function>
Function Slot(size_t slot) {
  return reinterpret_cast<Function>(table[slot]);
}

// What went wrong is the test's to see, in the numbers that are missing.
void Drop(OrtStatus* status) {
  if (status != nullptr) Slot<void(TENON_ORT_CALL*)(OrtStatus*)>(93)(status);
}

void TENON_ORT_CALL Compute(void*, OrtKernelContext* context) {
  using Get = OrtStatus*(TENON_ORT_CALL*)(const OrtKernelContext*, size_t, const OrtValue**);
  using GetOutput = OrtStatus*(TENON_ORT_CALL*)(OrtKernelContext*, size_t, const int64_t* dims,
                                                size_t rank, OrtValue**);
  using Shape = OrtStatus*(TENON_ORT_CALL*)(const OrtValue*, OrtTensorTypeAndShapeInfo**);
  using Rank = OrtStatus*(TENON_ORT_CALL*)(const OrtTensorTypeAndShapeInfo*, size_t*);
  using Dims = OrtStatus*(TENON_ORT_CALL*)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t);
  using Data = OrtStatus*(TENON_ORT_CALL*)(OrtValue*, void**);

  const OrtValue* input = nullptr;
  Drop(Slot<Get>(90)(context, 0, &input));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Drop(Slot<Shape>(65)(input, &info));
  size_t rank = 0;
  Drop(Slot<Rank>(61)(info, &rank));
  std::vector<int64_t> dims(rank);
  Drop(Slot<Dims>(62)(info, dims.data(), rank));
  Slot<void(TENON_ORT_CALL*)(OrtTensorTypeAndShapeInfo*)>(99)(info);

  OrtValue* output = nullptr;
  Drop(Slot<GetOutput>(91)(context, 0, dims.data(), rank, &output));
  void* from = nullptr;
  void* to = nullptr;
  Drop(Slot<Data>(51)(const_cast<OrtValue*>(input), &from));
  Drop(Slot<Data>(51)(output, &to));
  size_t count = 1;
  for (const int64_t dim : dims) count *= static_cast<size_t>(dim);
  for (size_t i = 0; i < count; ++i) {
    static_cast<float*>(to)[i] = 3 * static_cast<const float*>(from)[i];
  }
}

const CustomOp kTriple{
    kVersion,
    [](const CustomOp*, const void*, const OrtKernelInfo*) -> void* { return &table; },  // no state
    [](const CustomOp*) { return "Triple"; },
    [](const CustomOp*) -> const char* { return nullptr; },  // the CPU
    [](const CustomOp*, size_t) { return kFloat; },
    [](const CustomOp*) { return size_t{1}; },
    [](const CustomOp*, size_t) { return kFloat; },
    [](const CustomOp*) { return size_t{1}; },
    Compute,
    [](void*) {},
    [](const CustomOp*, size_t) { return kRequired; },
    [](const CustomOp*, size_t) { return kRequired; },
};

// Sessions refer to the domain for as long as they live; the library is closed after
// the last of them.
struct Domain {
  OrtCustomOpDomain* handle = nullptr;
  ~Domain() {
    if (handle != nullptr) Slot<void(TENON_ORT_CALL*)(OrtCustomOpDomain*)>(101)(handle);
  }
};
Domain domain;

}  // namespace

FAKE_EXPORT OrtStatus* TENON_ORT_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                        const OrtApiBase* base) {
  using Create = OrtStatus*(TENON_ORT_CALL*)(const char*, OrtCustomOpDomain**);
  using Add = OrtStatus*(TENON_ORT_CALL*)(OrtCustomOpDomain*, const CustomOp*);
  using AddTo = OrtStatus*(TENON_ORT_CALL*)(OrtSessionOptions*, OrtCustomOpDomain*);
  table = static_cast<void* const*>(base->GetApi(kOldestMinor));
  if (domain.handle == nullptr) {
    if (OrtStatus* const status = Slot<Create>(26)("tenon.test", &domain.handle)) return status;
    if (OrtStatus* const status = Slot<Add>(27)(domain.handle, &kTriple)) return status;
  }
  return Slot<AddTo>(28)(options, domain.handle);
}
