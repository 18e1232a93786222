#pragma once

// ONNX Runtime's C ABI, declared by hand and only as far as Tenon uses it, so
// that no header of one version ties the addon to that version.
//
// A library exports one symbol, OrtGetApiBase. Its GetApi(n) returns a table of
// function pointers that only ever grows: a function keeps its slot for ever.
// Every version hands out the same table for each n it knows, and what follows
// the last slot it fills is not null but arbitrary. So a slot is read only if
// the version that introduced it is not above the library's own (FillApi); it
// is null in Api otherwise. The API version is the minor number of the release.

#include <cstddef>
#include <cstdint>

namespace tenon::onnxruntime {

#ifdef _WIN32
#define TENON_ORT_CALL __stdcall
using OrtPathChar = wchar_t;
#else
#define TENON_ORT_CALL
using OrtPathChar = char;
#endif

// The oldest release that is supported, and the newest whose API is known to
// keep what is declared here. A newer library is asked for the latter.
inline constexpr int kOldestMinor = 17;
inline constexpr int kNewestMinor = 30;

struct OrtAllocator;
struct OrtCUDAProviderOptionsV2;
struct OrtEnv;
struct OrtEpDevice;
struct OrtHardwareDevice;
struct OrtIoBinding;
struct OrtKeyValuePairs;
struct OrtLoraAdapter;
struct OrtMapTypeInfo;
struct OrtMemoryInfo;
struct OrtModelMetadata;
struct OrtOptionalTypeInfo;
struct OrtPrepackedWeightsContainer;
struct OrtRunOptions;
struct OrtSequenceTypeInfo;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtSyncStream;
struct OrtTensorRTProviderOptionsV2;
struct OrtTensorTypeAndShapeInfo;
struct OrtThreadingOptions;
struct OrtTypeInfo;
struct OrtValue;

enum OrtErrorCode : int {
  kOrtFail = 1,
  kOrtInvalidArgument = 2,
  kOrtNoSuchFile = 3,
  kOrtRuntimeException = 6,
  kOrtEpFail = 11,
  kOrtModelLoadCanceled = 12,
};

enum OrtValueType : int {
  kOrtTypeUnknown = 0,
  kOrtTypeTensor = 1,
  kOrtTypeSequence = 2,
  kOrtTypeMap = 3,
  kOrtTypeOpaque = 4,
  kOrtTypeSparseTensor = 5,
  kOrtTypeOptional = 6,
};

enum OrtExecutionMode : int { kOrtSequential = 0, kOrtParallel = 1 };
enum OrtAllocatorType : int { kOrtDeviceAllocator = 0 };
enum OrtMemType : int {
  kOrtMemTypeCpuInput = -2,
  kOrtMemTypeCpuOutput = -1,
  kOrtMemTypeDefault = 0
};
enum OrtMemoryDeviceType : int { kOrtMemoryCpu = 0 };
enum OrtHardwareDeviceType : int { kOrtHardwareCpu = 0, kOrtHardwareGpu = 1, kOrtHardwareNpu = 2 };

// An element type as ONNX numbers it; tensor.h maps it to a DType.
using OrtElementType = int;
inline constexpr int kElementTypeCount = 27;

// Called by the engine on any of its threads.
using OrtLoggingFunction = void(TENON_ORT_CALL*)(void* param, int severity, const char* category,
                                                 const char* log_id, const char* location,
                                                 const char* message);

struct OrtApiBase {
  const void*(TENON_ORT_CALL* GetApi)(uint32_t version);
  const char*(TENON_ORT_CALL* GetVersionString)();
};

// F(name, slot, minor version that introduced it, result, arguments)
#define TENON_ORT_FUNCTIONS(F)                                                                     \
  F(GetErrorCode, 1, 0, OrtErrorCode, (const OrtStatus*))                                          \
  F(GetErrorMessage, 2, 0, const char*, (const OrtStatus*))                                        \
  F(CreateEnv, 3, 0, OrtStatus*, (int severity, const char* log_id, OrtEnv**))                     \
  F(CreateEnvWithCustomLogger, 4, 0, OrtStatus*,                                                   \
    (OrtLoggingFunction, void* param, int severity, const char* log_id, OrtEnv**))                 \
  F(DisableTelemetryEvents, 6, 0, OrtStatus*, (const OrtEnv*))                                     \
  F(CreateSession, 7, 0, OrtStatus*,                                                               \
    (const OrtEnv*, const OrtPathChar* path, const OrtSessionOptions*, OrtSession**))              \
  F(CreateSessionFromArray, 8, 0, OrtStatus*,                                                      \
    (const OrtEnv*, const void* bytes, size_t byte_length, const OrtSessionOptions*,               \
     OrtSession**))                                                                                \
  F(Run, 9, 0, OrtStatus*,                                                                         \
    (OrtSession*, const OrtRunOptions*, const char* const* input_names,                            \
     const OrtValue* const* inputs, size_t input_count, const char* const* output_names,           \
     size_t output_count, OrtValue** outputs))                                                     \
  F(CreateSessionOptions, 10, 0, OrtStatus*, (OrtSessionOptions**))                                \
  F(SetOptimizedModelFilePath, 11, 0, OrtStatus*, (OrtSessionOptions*, const OrtPathChar*))        \
  F(SetSessionExecutionMode, 13, 0, OrtStatus*, (OrtSessionOptions*, OrtExecutionMode))            \
  F(EnableProfiling, 14, 0, OrtStatus*, (OrtSessionOptions*, const OrtPathChar* file_prefix))      \
  F(DisableMemPattern, 17, 0, OrtStatus*, (OrtSessionOptions*))                                    \
  F(EnableCpuMemArena, 18, 0, OrtStatus*, (OrtSessionOptions*))                                    \
  F(DisableCpuMemArena, 19, 0, OrtStatus*, (OrtSessionOptions*))                                   \
  F(SetSessionLogId, 20, 0, OrtStatus*, (OrtSessionOptions*, const char*))                         \
  F(SetSessionLogVerbosityLevel, 21, 0, OrtStatus*, (OrtSessionOptions*, int))                     \
  F(SetSessionLogSeverityLevel, 22, 0, OrtStatus*, (OrtSessionOptions*, int))                      \
  F(SetSessionGraphOptimizationLevel, 23, 0, OrtStatus*, (OrtSessionOptions*, int level))          \
  F(SetIntraOpNumThreads, 24, 0, OrtStatus*, (OrtSessionOptions*, int))                            \
  F(SetInterOpNumThreads, 25, 0, OrtStatus*, (OrtSessionOptions*, int))                            \
  F(SessionGetInputCount, 30, 0, OrtStatus*, (const OrtSession*, size_t*))                         \
  F(SessionGetOutputCount, 31, 0, OrtStatus*, (const OrtSession*, size_t*))                        \
  F(SessionGetOverridableInitializerCount, 32, 0, OrtStatus*, (const OrtSession*, size_t*))        \
  F(SessionGetInputTypeInfo, 33, 0, OrtStatus*, (const OrtSession*, size_t, OrtTypeInfo**))        \
  F(SessionGetOutputTypeInfo, 34, 0, OrtStatus*, (const OrtSession*, size_t, OrtTypeInfo**))       \
  F(SessionGetOverridableInitializerTypeInfo, 35, 0, OrtStatus*,                                   \
    (const OrtSession*, size_t, OrtTypeInfo**))                                                    \
  F(SessionGetInputName, 36, 0, OrtStatus*, (const OrtSession*, size_t, OrtAllocator*, char**))    \
  F(SessionGetOutputName, 37, 0, OrtStatus*, (const OrtSession*, size_t, OrtAllocator*, char**))   \
  F(SessionGetOverridableInitializerName, 38, 0, OrtStatus*,                                       \
    (const OrtSession*, size_t, OrtAllocator*, char**))                                            \
  F(CreateRunOptions, 39, 0, OrtStatus*, (OrtRunOptions**))                                        \
  F(RunOptionsSetRunLogVerbosityLevel, 40, 0, OrtStatus*, (OrtRunOptions*, int))                   \
  F(RunOptionsSetRunLogSeverityLevel, 41, 0, OrtStatus*, (OrtRunOptions*, int))                    \
  F(RunOptionsSetRunTag, 42, 0, OrtStatus*, (OrtRunOptions*, const char*))                         \
  F(RunOptionsSetTerminate, 46, 0, OrtStatus*, (OrtRunOptions*))                                   \
  F(CreateTensorAsOrtValue, 48, 0, OrtStatus*,                                                     \
    (OrtAllocator*, const int64_t* shape, size_t rank, OrtElementType, OrtValue**))                \
  F(CreateTensorWithDataAsOrtValue, 49, 0, OrtStatus*,                                             \
    (const OrtMemoryInfo*, void* data, size_t byte_length, const int64_t* shape, size_t rank,      \
     OrtElementType, OrtValue**))                                                                  \
  F(GetTensorMutableData, 51, 0, OrtStatus*, (OrtValue*, void**))                                  \
  F(GetStringTensorDataLength, 53, 0, OrtStatus*, (const OrtValue*, size_t*))                      \
  F(GetStringTensorContent, 54, 0, OrtStatus*,                                                     \
    (const OrtValue*, void* bytes, size_t byte_length, size_t* offsets, size_t offset_count))      \
  F(CastTypeInfoToTensorInfo, 55, 0, OrtStatus*,                                                   \
    (const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**))                                       \
  F(GetOnnxTypeFromTypeInfo, 56, 0, OrtStatus*, (const OrtTypeInfo*, OrtValueType*))               \
  F(GetTensorElementType, 60, 0, OrtStatus*, (const OrtTensorTypeAndShapeInfo*, OrtElementType*))  \
  F(GetDimensionsCount, 61, 0, OrtStatus*, (const OrtTensorTypeAndShapeInfo*, size_t*))            \
  F(GetDimensions, 62, 0, OrtStatus*,                                                              \
    (const OrtTensorTypeAndShapeInfo*, int64_t* sizes, size_t rank))                               \
  F(GetSymbolicDimensions, 63, 0, OrtStatus*,                                                      \
    (const OrtTensorTypeAndShapeInfo*, const char** names, size_t rank))                           \
  F(GetTensorTypeAndShape, 65, 0, OrtStatus*, (const OrtValue*, OrtTensorTypeAndShapeInfo**))      \
  F(GetValueType, 67, 0, OrtStatus*, (const OrtValue*, OrtValueType*))                             \
  F(CreateCpuMemoryInfo, 69, 0, OrtStatus*, (OrtAllocatorType, OrtMemType, OrtMemoryInfo**))       \
  F(MemoryInfoGetName, 71, 0, OrtStatus*, (const OrtMemoryInfo*, const char**))                    \
  F(MemoryInfoGetMemType, 73, 0, OrtStatus*, (const OrtMemoryInfo*, OrtMemType*))                  \
  F(AllocatorFree, 76, 0, OrtStatus*, (OrtAllocator*, void*))                                      \
  F(GetAllocatorWithDefaultOptions, 78, 0, OrtStatus*, (OrtAllocator**))                           \
  F(AddFreeDimensionOverride, 79, 0, OrtStatus*,                                                   \
    (OrtSessionOptions*, const char* denotation, int64_t))                                         \
  F(GetValue, 80, 0, OrtStatus*, (const OrtValue*, int index, OrtAllocator*, OrtValue**))          \
  F(GetValueCount, 81, 0, OrtStatus*, (const OrtValue*, size_t*))                                  \
  F(CreateValue, 82, 0, OrtStatus*,                                                                \
    (const OrtValue* const* items, size_t count, OrtValueType, OrtValue**))                        \
  F(ReleaseStatus, 93, 0, void, (OrtStatus*))                                                      \
  F(ReleaseMemoryInfo, 94, 0, void, (OrtMemoryInfo*))                                              \
  F(ReleaseSession, 95, 0, void, (OrtSession*))                                                    \
  F(ReleaseValue, 96, 0, void, (OrtValue*))                                                        \
  F(ReleaseRunOptions, 97, 0, void, (OrtRunOptions*))                                              \
  F(ReleaseTypeInfo, 98, 0, void, (OrtTypeInfo*))                                                  \
  F(ReleaseTensorTypeAndShapeInfo, 99, 0, void, (OrtTensorTypeAndShapeInfo*))                      \
  F(ReleaseSessionOptions, 100, 0, void, (OrtSessionOptions*))                                     \
  F(CastTypeInfoToMapTypeInfo, 103, 2, OrtStatus*, (const OrtTypeInfo*, const OrtMapTypeInfo**))   \
  F(CastTypeInfoToSequenceTypeInfo, 104, 2, OrtStatus*,                                            \
    (const OrtTypeInfo*, const OrtSequenceTypeInfo**))                                             \
  F(GetMapKeyType, 105, 2, OrtStatus*, (const OrtMapTypeInfo*, OrtElementType*))                   \
  F(GetMapValueType, 106, 2, OrtStatus*, (const OrtMapTypeInfo*, OrtTypeInfo**))                   \
  F(GetSequenceElementType, 107, 2, OrtStatus*, (const OrtSequenceTypeInfo*, OrtTypeInfo**))       \
  F(SessionEndProfiling, 110, 2, OrtStatus*, (OrtSession*, OrtAllocator*, char**))                 \
  F(SessionGetModelMetadata, 111, 2, OrtStatus*, (const OrtSession*, OrtModelMetadata**))          \
  F(ModelMetadataGetProducerName, 112, 2, OrtStatus*,                                              \
    (const OrtModelMetadata*, OrtAllocator*, char**))                                              \
  F(ModelMetadataGetGraphName, 113, 2, OrtStatus*,                                                 \
    (const OrtModelMetadata*, OrtAllocator*, char**))                                              \
  F(ModelMetadataGetDomain, 114, 2, OrtStatus*, (const OrtModelMetadata*, OrtAllocator*, char**))  \
  F(ModelMetadataGetDescription, 115, 2, OrtStatus*,                                               \
    (const OrtModelMetadata*, OrtAllocator*, char**))                                              \
  F(ModelMetadataLookupCustomMetadataMap, 116, 2, OrtStatus*,                                      \
    (const OrtModelMetadata*, OrtAllocator*, const char* key, char**))                             \
  F(ModelMetadataGetVersion, 117, 2, OrtStatus*, (const OrtModelMetadata*, int64_t*))              \
  F(ReleaseModelMetadata, 118, 2, void, (OrtModelMetadata*))                                       \
  F(CreateEnvWithGlobalThreadPools, 119, 3, OrtStatus*,                                            \
    (int severity, const char* log_id, const OrtThreadingOptions*, OrtEnv**))                      \
  F(DisablePerSessionThreads, 120, 3, OrtStatus*, (OrtSessionOptions*))                            \
  F(CreateThreadingOptions, 121, 3, OrtStatus*, (OrtThreadingOptions**))                           \
  F(ReleaseThreadingOptions, 122, 3, void, (OrtThreadingOptions*))                                 \
  F(ModelMetadataGetCustomMetadataMapKeys, 123, 3, OrtStatus*,                                     \
    (const OrtModelMetadata*, OrtAllocator*, char*** keys, int64_t* count))                        \
  F(AddFreeDimensionOverrideByName, 124, 3, OrtStatus*,                                            \
    (OrtSessionOptions*, const char* name, int64_t size))                                          \
  F(GetAvailableProviders, 125, 4, OrtStatus*, (char*** names, int* count))                        \
  F(ReleaseAvailableProviders, 126, 4, OrtStatus*, (char** names, int count))                      \
  F(AddSessionConfigEntry, 130, 5, OrtStatus*,                                                     \
    (OrtSessionOptions*, const char* key, const char* value))                                      \
  F(RunWithBinding, 133, 5, OrtStatus*, (OrtSession*, const OrtRunOptions*, const OrtIoBinding*))  \
  F(CreateIoBinding, 134, 5, OrtStatus*, (OrtSession*, OrtIoBinding**))                            \
  F(ReleaseIoBinding, 135, 5, void, (OrtIoBinding*))                                               \
  F(BindInput, 136, 5, OrtStatus*, (OrtIoBinding*, const char* name, const OrtValue*))             \
  F(BindOutput, 137, 5, OrtStatus*, (OrtIoBinding*, const char* name, const OrtValue*))            \
  F(BindOutputToDevice, 138, 5, OrtStatus*,                                                        \
    (OrtIoBinding*, const char* name, const OrtMemoryInfo*))                                       \
  F(GetBoundOutputValues, 140, 5, OrtStatus*,                                                      \
    (const OrtIoBinding*, OrtAllocator*, OrtValue*** values, size_t* count))                       \
  F(SetGlobalIntraOpNumThreads, 147, 5, OrtStatus*, (OrtThreadingOptions*, int))                   \
  F(SetGlobalInterOpNumThreads, 148, 5, OrtStatus*, (OrtThreadingOptions*, int))                   \
  F(SetGlobalSpinControl, 149, 5, OrtStatus*, (OrtThreadingOptions*, int))                         \
  F(AddInitializer, 150, 6, OrtStatus*, (OrtSessionOptions*, const char* name, const OrtValue*))   \
  F(CreateEnvWithCustomLoggerAndGlobalThreadPools, 151, 6, OrtStatus*,                             \
    (OrtLoggingFunction, void* param, int severity, const char* log_id,                            \
     const OrtThreadingOptions*, OrtEnv**))                                                        \
  F(SetGlobalDenormalAsZero, 155, 6, OrtStatus*, (OrtThreadingOptions*))                           \
  F(ModelMetadataGetGraphDescription, 158, 7, OrtStatus*,                                          \
    (const OrtModelMetadata*, OrtAllocator*, char**))                                              \
  F(AddRunConfigEntry, 165, 8, OrtStatus*, (OrtRunOptions*, const char* key, const char* value))   \
  F(CreatePrepackedWeightsContainer, 166, 8, OrtStatus*, (OrtPrepackedWeightsContainer**))         \
  F(ReleasePrepackedWeightsContainer, 167, 8, void, (OrtPrepackedWeightsContainer*))               \
  F(CreateSessionWithPrepackedWeightsContainer, 168, 8, OrtStatus*,                                \
    (const OrtEnv*, const OrtPathChar* path, const OrtSessionOptions*,                             \
     OrtPrepackedWeightsContainer*, OrtSession**))                                                 \
  F(CreateSessionFromArrayWithPrepackedWeightsContainer, 169, 8, OrtStatus*,                       \
    (const OrtEnv*, const void* bytes, size_t byte_length, const OrtSessionOptions*,               \
     OrtPrepackedWeightsContainer*, OrtSession**))                                                 \
  F(SessionOptionsAppendExecutionProvider_TensorRT_V2, 170, 9, OrtStatus*,                         \
    (OrtSessionOptions*, const OrtTensorRTProviderOptionsV2*))                                     \
  F(CreateTensorRTProviderOptions, 171, 9, OrtStatus*, (OrtTensorRTProviderOptionsV2**))           \
  F(UpdateTensorRTProviderOptions, 172, 9, OrtStatus*,                                             \
    (OrtTensorRTProviderOptionsV2*, const char* const* keys, const char* const* values,            \
     size_t count))                                                                                \
  F(ReleaseTensorRTProviderOptions, 174, 9, void, (OrtTensorRTProviderOptionsV2*))                 \
  F(HasValue, 192, 10, OrtStatus*, (const OrtValue*, int*))                                        \
  F(GetTensorMemoryInfo, 194, 10, OrtStatus*, (const OrtValue*, const OrtMemoryInfo**))            \
  F(SessionOptionsAppendExecutionProvider_CUDA_V2, 204, 11, OrtStatus*,                            \
    (OrtSessionOptions*, const OrtCUDAProviderOptionsV2*))                                         \
  F(CreateCUDAProviderOptions, 205, 11, OrtStatus*, (OrtCUDAProviderOptionsV2**))                  \
  F(UpdateCUDAProviderOptions, 206, 11, OrtStatus*,                                                \
    (OrtCUDAProviderOptionsV2*, const char* const* keys, const char* const* values, size_t count)) \
  F(ReleaseCUDAProviderOptions, 208, 11, void, (OrtCUDAProviderOptionsV2*))                        \
  F(AddExternalInitializers, 210, 12, OrtStatus*,                                                  \
    (OrtSessionOptions*, const char* const* names, const OrtValue* const* values, size_t count))   \
  F(SessionOptionsAppendExecutionProvider, 216, 12, OrtStatus*,                                    \
    (OrtSessionOptions*, const char* name, const char* const* keys, const char* const* values,     \
     size_t count))                                                                                \
  F(MemoryInfoGetDeviceType, 225, 14, void, (const OrtMemoryInfo*, OrtMemoryDeviceType*))          \
  F(SetGlobalIntraOpThreadAffinity, 227, 14, OrtStatus*, (OrtThreadingOptions*, const char*))      \
  F(RegisterCustomOpsLibrary_V2, 228, 14, OrtStatus*, (OrtSessionOptions*, const OrtPathChar*))    \
  F(CastTypeInfoToOptionalTypeInfo, 250, 15, OrtStatus*,                                           \
    (const OrtTypeInfo*, const OrtOptionalTypeInfo**))                                             \
  F(GetOptionalContainedTypeInfo, 251, 15, OrtStatus*,                                             \
    (const OrtOptionalTypeInfo*, OrtTypeInfo**))                                                   \
  F(GetResizedStringTensorElementBuffer, 252, 15, OrtStatus*,                                      \
    (OrtValue*, size_t index, size_t byte_length, char** buffer))                                  \
  F(SetDeterministicCompute, 273, 17, OrtStatus*, (OrtSessionOptions*, bool))                      \
  F(AddExternalInitializersFromFilesInMemory, 279, 18, OrtStatus*,                                 \
    (OrtSessionOptions*, const OrtPathChar* const* file_names, char* const* buffers,               \
     const size_t* lengths, size_t count))                                                         \
  F(CreateLoraAdapter, 280, 20, OrtStatus*,                                                        \
    (const OrtPathChar* path, OrtAllocator*, OrtLoraAdapter**))                                    \
  F(CreateLoraAdapterFromArray, 281, 20, OrtStatus*,                                               \
    (const void* bytes, size_t byte_length, OrtAllocator*, OrtLoraAdapter**))                      \
  F(ReleaseLoraAdapter, 282, 20, void, (OrtLoraAdapter*))                                          \
  F(RunOptionsAddActiveLoraAdapter, 283, 20, OrtStatus*, (OrtRunOptions*, const OrtLoraAdapter*))  \
  F(SessionOptionsSetLoadCancellationFlag, 293, 22, OrtStatus*, (OrtSessionOptions*, bool))        \
  F(GetKeyValuePairs, 298, 22, void,                                                               \
    (const OrtKeyValuePairs*, const char* const** keys, const char* const** values,                \
     size_t* count))                                                                               \
  F(RegisterExecutionProviderLibrary, 301, 22, OrtStatus*,                                         \
    (OrtEnv*, const char* name, const OrtPathChar* path))                                          \
  F(GetEpDevices, 303, 22, OrtStatus*,                                                             \
    (const OrtEnv*, const OrtEpDevice* const** devices, size_t* count))                            \
  F(SessionOptionsAppendExecutionProvider_V2, 304, 22, OrtStatus*,                                 \
    (OrtSessionOptions*, OrtEnv*, const OrtEpDevice* const* devices, size_t device_count,          \
     const char* const* keys, const char* const* values, size_t count))                            \
  F(HardwareDevice_Type, 307, 22, OrtHardwareDeviceType, (const OrtHardwareDevice*))               \
  F(HardwareDevice_VendorId, 308, 22, uint32_t, (const OrtHardwareDevice*))                        \
  F(HardwareDevice_Vendor, 309, 22, const char*, (const OrtHardwareDevice*))                       \
  F(HardwareDevice_DeviceId, 310, 22, uint32_t, (const OrtHardwareDevice*))                        \
  F(HardwareDevice_Metadata, 311, 22, const OrtKeyValuePairs*, (const OrtHardwareDevice*))         \
  F(EpDevice_EpName, 312, 22, const char*, (const OrtEpDevice*))                                   \
  F(EpDevice_EpVendor, 313, 22, const char*, (const OrtEpDevice*))                                 \
  F(EpDevice_EpMetadata, 314, 22, const OrtKeyValuePairs*, (const OrtEpDevice*))                   \
  F(EpDevice_EpOptions, 315, 22, const OrtKeyValuePairs*, (const OrtEpDevice*))                    \
  F(EpDevice_Device, 316, 22, const OrtHardwareDevice*, (const OrtEpDevice*))                      \
  F(GetTensorSizeInBytes, 318, 23, OrtStatus*, (const OrtValue*, size_t*))                         \
  F(SessionGetMemoryInfoForOutputs, 381, 23, OrtStatus*,                                           \
    (const OrtSession*, const OrtMemoryInfo** infos, size_t count))                                \
  F(CopyTensors, 386, 23, OrtStatus*,                                                              \
    (const OrtEnv*, const OrtValue* const* from, OrtValue* const* to, OrtSyncStream*,              \
     size_t count))                                                                                \
  F(TensorTypeAndShape_HasShape, 390, 24, bool, (const OrtTensorTypeAndShapeInfo*))                \
  F(GetTensorElementTypeAndShapeDataReference, 414, 24, OrtStatus*,                                \
    (const OrtValue*, OrtElementType*, const int64_t** shape, size_t* rank))                       \
  F(RunOptionsEnableProfiling, 415, 25, OrtStatus*, (OrtRunOptions*, const OrtPathChar* prefix))

// The functions by name. One newer than the library is null.
struct Api {
#define TENON_ORT_MEMBER(name, slot, since, result, arguments) \
  result(TENON_ORT_CALL* name) arguments = nullptr;
  TENON_ORT_FUNCTIONS(TENON_ORT_MEMBER)
#undef TENON_ORT_MEMBER
};

// `table` is what GetApi(minor) returned.
inline Api FillApi(const void* table, int minor) {
  Api api;
  void* const* slots = static_cast<void* const*>(table);
#define TENON_ORT_FILL(name, slot, since, result, arguments) \
  if (minor >= since) api.name = reinterpret_cast<decltype(api.name)>(slots[slot]);
  TENON_ORT_FUNCTIONS(TENON_ORT_FILL)
#undef TENON_ORT_FILL
  return api;
}

}  // namespace tenon::onnxruntime
