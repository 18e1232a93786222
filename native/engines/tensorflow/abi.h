#pragma once

#include <cstddef>
#include <cstdint>

// TensorFlow's C ABI as far as Tenon uses it, declared by hand: the library is
// opened at run time and no header of it is needed at build time. Everything
// here has kept its name and signature throughout TensorFlow 2.

namespace tenon::tensorflow {

// Opaque objects, each with its own deleter below.
struct TF_Status;
struct TF_Tensor;
struct TF_SessionOptions;
struct TF_Session;
struct TF_Graph;
struct TF_Operation;
struct TF_OperationDescription;
struct TF_ImportGraphDefOptions;
struct TF_DeviceList;
struct TF_Library;

// Bytes that cross the API, a serialized protobuf as a rule.
struct TF_Buffer {
  const void* data;
  size_t length;
  void (*data_deallocator)(void* data, size_t length);
};

// Output `index` of an operation. TF_SessionRun dereferences `oper` unchecked.
struct TF_Output {
  TF_Operation* oper;
  int index;
};

// One element of a string tensor. string_element.h tells what the bytes mean.
struct TF_TString {
  alignas(8) unsigned char raw[24];
};
static_assert(sizeof(TF_TString) == 24);

// TF_DataType. Reference types (of TensorFlow 1 variables) are these plus 100.
enum TF_DataType : int {
  TF_FLOAT = 1,
  TF_DOUBLE = 2,
  TF_INT32 = 3,
  TF_UINT8 = 4,
  TF_INT16 = 5,
  TF_INT8 = 6,
  TF_STRING = 7,
  TF_COMPLEX64 = 8,
  TF_INT64 = 9,
  TF_BOOL = 10,
  TF_QINT8 = 11,
  TF_QUINT8 = 12,
  TF_QINT32 = 13,
  TF_BFLOAT16 = 14,
  TF_QINT16 = 15,
  TF_QUINT16 = 16,
  TF_UINT16 = 17,
  TF_COMPLEX128 = 18,
  TF_HALF = 19,
  TF_RESOURCE = 20,
  TF_VARIANT = 21,
  TF_UINT32 = 22,
  TF_UINT64 = 23,
  TF_FLOAT8_E5M2 = 24,
  TF_FLOAT8_E4M3FN = 25,
  TF_FLOAT8_E4M3FNUZ = 26,
  TF_FLOAT8_E4M3B11FNUZ = 27,
  TF_FLOAT8_E5M2FNUZ = 28,
  TF_INT4 = 29,
  TF_UINT4 = 30,
  TF_INT2 = 31,
  TF_UINT2 = 32,
  TF_FLOAT4_E2M1FN = 33,
};
inline constexpr int kReferenceTypeOffset = 100;

// TF_Code, those that Tenon tells apart.
enum TF_Code : int {
  TF_OK = 0,
  TF_NOT_FOUND = 5,
};

// The functions every supported library exports: X(result, name, parameters).
#define TENON_TENSORFLOW_FUNCTIONS(X)                                                          \
  X(const char*, TF_Version, ())                                                               \
                                                                                               \
  X(TF_Status*, TF_NewStatus, ())                                                              \
  X(void, TF_DeleteStatus, (TF_Status * status))                                               \
  X(TF_Code, TF_GetCode, (const TF_Status* status))                                            \
  X(const char*, TF_Message, (const TF_Status* status))                                        \
                                                                                               \
  /* Takes `data` over unless it is not aligned, then copies it. The deallocator is called */  \
  /* exactly once whatever happens, on any thread; null is returned where `length` does not */ \
  /* fit the dimensions. */                                                                    \
  X(TF_Tensor*, TF_NewTensor,                                                                  \
    (TF_DataType dtype, const int64_t* dims, int rank, void* data, size_t length,              \
     void (*deallocator)(void* data, size_t length, void* argument), void* argument))          \
  X(TF_Tensor*, TF_AllocateTensor,                                                             \
    (TF_DataType dtype, const int64_t* dims, int rank, size_t length))                         \
  /* The tensor to use from now on if nobody else holds its buffer; null, and the argument */  \
  /* unchanged, if somebody does. */                                                           \
  X(TF_Tensor*, TF_TensorMaybeMove, (TF_Tensor * tensor))                                      \
  X(void, TF_DeleteTensor, (TF_Tensor * tensor))                                               \
  X(TF_DataType, TF_TensorType, (const TF_Tensor* tensor))                                     \
  X(int, TF_NumDims, (const TF_Tensor* tensor))                                                \
  X(int64_t, TF_Dim, (const TF_Tensor* tensor, int index))                                     \
  X(size_t, TF_TensorByteSize, (const TF_Tensor* tensor))                                      \
  X(void*, TF_TensorData, (const TF_Tensor* tensor))                                           \
                                                                                               \
  X(TF_SessionOptions*, TF_NewSessionOptions, ())                                              \
  X(void, TF_DeleteSessionOptions, (TF_SessionOptions * options))                              \
  X(void, TF_SetConfig,                                                                        \
    (TF_SessionOptions * options, const void* proto, size_t length, TF_Status* status))        \
                                                                                               \
  X(TF_Graph*, TF_NewGraph, ())                                                                \
  X(void, TF_DeleteGraph, (TF_Graph * graph))                                                  \
  X(TF_ImportGraphDefOptions*, TF_NewImportGraphDefOptions, ())                                \
  X(void, TF_DeleteImportGraphDefOptions, (TF_ImportGraphDefOptions * options))                \
  X(void, TF_GraphImportGraphDef,                                                              \
    (TF_Graph * graph, const TF_Buffer* graph_def, const TF_ImportGraphDefOptions* options,    \
     TF_Status* status))                                                                       \
  X(TF_Operation*, TF_GraphOperationByName, (TF_Graph * graph, const char* name))              \
  X(int, TF_OperationNumOutputs, (TF_Operation * operation))                                   \
  X(TF_DataType, TF_OperationOutputType, (TF_Output output))                                   \
  X(int, TF_GraphGetTensorNumDims, (TF_Graph * graph, TF_Output output, TF_Status * status))   \
  X(void, TF_GraphGetTensorShape,                                                              \
    (TF_Graph * graph, TF_Output output, int64_t * dims, int rank, TF_Status* status))         \
                                                                                               \
  X(TF_Session*, TF_NewSession,                                                                \
    (TF_Graph * graph, const TF_SessionOptions* options, TF_Status* status))                   \
  X(TF_Session*, TF_LoadSessionFromSavedModel,                                                 \
    (const TF_SessionOptions* options, const TF_Buffer* run_options, const char* folder,       \
     const char* const* tags, int tag_count, TF_Graph* graph, TF_Buffer* meta_graph_def,       \
     TF_Status* status))                                                                       \
  X(void, TF_CloseSession, (TF_Session * session, TF_Status * status))                         \
  X(void, TF_DeleteSession, (TF_Session * session, TF_Status * status))                        \
  X(void, TF_SessionRun,                                                                       \
    (TF_Session * session, const TF_Buffer* run_options, const TF_Output* inputs,              \
     TF_Tensor* const* input_values, int input_count, const TF_Output* outputs,                \
     TF_Tensor** output_values, int output_count, const TF_Operation* const* targets,          \
     int target_count, TF_Buffer* run_metadata, TF_Status* status))                            \
                                                                                               \
  X(TF_DeviceList*, TF_SessionListDevices, (TF_Session * session, TF_Status * status))         \
  X(void, TF_DeleteDeviceList, (TF_DeviceList * list))                                         \
  X(int, TF_DeviceListCount, (const TF_DeviceList* list))                                      \
  X(const char*, TF_DeviceListName, (const TF_DeviceList* list, int index, TF_Status* status)) \
                                                                                               \
  X(TF_Library*, TF_LoadLibrary, (const char* path, TF_Status* status))                        \
  X(void, TF_DeleteLibraryHandle, (TF_Library * library))

// Functions that older libraries have only as inline functions of their
// headers; null where they are missing.
#define TENON_TENSORFLOW_OPTIONAL_FUNCTIONS(X)                                 \
  X(void, TF_StringInit, (TF_TString * string))                                \
  X(void, TF_StringCopy, (TF_TString * string, const char* data, size_t size)) \
  X(const char*, TF_StringGetDataPointer, (const TF_TString* string))          \
  X(size_t, TF_StringGetSize, (const TF_TString* string))                      \
  X(void, TF_StringDealloc, (TF_TString * string))

// The functions of one opened library.
struct Api {
#define TENON_TENSORFLOW_DECLARE(result, name, parameters) result(*name) parameters = nullptr;
  TENON_TENSORFLOW_FUNCTIONS(TENON_TENSORFLOW_DECLARE)
  TENON_TENSORFLOW_OPTIONAL_FUNCTIONS(TENON_TENSORFLOW_DECLARE)
#undef TENON_TENSORFLOW_DECLARE
};

}  // namespace tenon::tensorflow
