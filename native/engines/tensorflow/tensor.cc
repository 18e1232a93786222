#include "engines/tensorflow/tensor.h"

#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "engines/tensorflow/string_element.h"
#include "platform/aligned_memory.h"

namespace tenon::tensorflow {
namespace {

struct DTypePair {
  DType tenon;
  TF_DataType tensorflow;
};

constexpr DTypePair kDTypes[] = {
    {DType::kFloat32, TF_FLOAT},
    {DType::kFloat64, TF_DOUBLE},
    {DType::kFloat16, TF_HALF},
    {DType::kBFloat16, TF_BFLOAT16},
    {DType::kInt8, TF_INT8},
    {DType::kUInt8, TF_UINT8},
    {DType::kInt16, TF_INT16},
    {DType::kUInt16, TF_UINT16},
    {DType::kInt32, TF_INT32},
    {DType::kUInt32, TF_UINT32},
    {DType::kInt64, TF_INT64},
    {DType::kUInt64, TF_UINT64},
    {DType::kBool, TF_BOOL},
    {DType::kString, TF_STRING},
    {DType::kComplex64, TF_COMPLEX64},
    {DType::kComplex128, TF_COMPLEX128},
    {DType::kInt4, TF_INT4},
    {DType::kUInt4, TF_UINT4},
    {DType::kInt2, TF_INT2},
    {DType::kUInt2, TF_UINT2},
    {DType::kFloat8E4M3FN, TF_FLOAT8_E4M3FN},
    {DType::kFloat8E4M3FNUZ, TF_FLOAT8_E4M3FNUZ},
    {DType::kFloat8E5M2, TF_FLOAT8_E5M2},
    {DType::kFloat8E5M2FNUZ, TF_FLOAT8_E5M2FNUZ},
    {DType::kFloat4E2M1, TF_FLOAT4_E2M1FN},
    {DType::kFloat8E4M3B11FNUZ, TF_FLOAT8_E4M3B11FNUZ},
    {DType::kQInt8, TF_QINT8},
    {DType::kQUInt8, TF_QUINT8},
    {DType::kQInt16, TF_QINT16},
    {DType::kQUInt16, TF_QUINT16},
    {DType::kQInt32, TF_QINT32},
};

// TensorFlow's, which makes sure of it by aborting the process.
constexpr size_t kMaxRank = 254;

bool IsPacked(DType dtype) { return dtype != DType::kString && DTypeBits(dtype) < 8; }

// Bytes of `count` elements in a TF_Tensor; nullopt where that does not fit.
std::optional<size_t> EngineByteLength(DType dtype, size_t count) {
  if (dtype == DType::kString) {
    if (count > SIZE_MAX / sizeof(TF_TString)) return std::nullopt;
    return count * sizeof(TF_TString);
  }
  if (IsPacked(dtype)) return count;
  return DTypeByteLength(dtype, count);
}

void Unpack(const unsigned char* packed, size_t count, int bits, unsigned char* unpacked) {
  const int per_byte = 8 / bits;
  const unsigned mask = (1u << bits) - 1;
  for (size_t i = 0; i < count; ++i) {
    unpacked[i] = static_cast<unsigned char>(packed[i / per_byte] >> (i % per_byte * bits) & mask);
  }
}

// The upper bits of an unpacked element may be anything, a sign for one.
void Pack(const unsigned char* unpacked, size_t count, int bits, unsigned char* packed) {
  const int per_byte = 8 / bits;
  const unsigned mask = (1u << bits) - 1;
  std::memset(packed, 0, (count + per_byte - 1) / per_byte);
  for (size_t i = 0; i < count; ++i) {
    packed[i / per_byte] |=
        static_cast<unsigned char>((unpacked[i] & mask) << (i % per_byte * bits));
  }
}

Status OutOfMemory(const std::string& name) {
  return {StatusCode::kOutOfMemory, "out of memory for \"" + name + "\""};
}

// The elements of a string feed. They are TensorFlow's to read, and to keep,
// until it calls the deallocator: clearing them any earlier would pull them from
// under a variable that kept them.
class StringElements {
 public:
  explicit StringElements(const Api& api) : api_(api) {}
  ~StringElements() {
    for (size_t i = 0; i < written_; ++i) ClearString(api_, data() + i);
  }
  StringElements(const StringElements&) = delete;
  StringElements& operator=(const StringElements&) = delete;

  bool Write(const StringTable& table) {
    memory_ = AllocateAligned(table.size() * sizeof(TF_TString));
    if (memory_ == nullptr) return false;
    for (; written_ < table.size(); ++written_) {
      if (!WriteString(api_, table[written_], data() + written_)) return false;
    }
    return true;
  }
  TF_TString* data() const { return static_cast<TF_TString*>(memory_.get()); }

 private:
  const Api api_;  // a copy: the deallocator may outlive the session
  std::shared_ptr<void> memory_;
  size_t written_ = 0;
};

// Hands `data` over to TensorFlow together with a hold on its owner.
Result<Feed> Adopt(const Api& api, TF_DataType dtype, const Shape& shape, void* data, size_t length,
                   std::shared_ptr<void> owner, const std::string& name) {
  using Hold = std::shared_ptr<std::shared_ptr<void>>;
  auto hold = std::make_unique<Hold>(std::make_shared<std::shared_ptr<void>>(std::move(owner)));
  std::weak_ptr<void> watched = *hold;
  TensorHandle tensor(
      api.TF_NewTensor(
          dtype, shape.data(), static_cast<int>(shape.size()), data, length,
          [](void*, size_t, void* argument) { delete static_cast<Hold*>(argument); },
          hold.release()),  // freed by the deallocator, on failure too
      api.TF_DeleteTensor);
  if (tensor == nullptr) {
    return Status(StatusCode::kInternal, "TensorFlow refused the memory of \"" + name + "\"");
  }
  return Feed{std::move(tensor), std::move(watched)};
}

}  // namespace

std::optional<DType> DTypeFromTensorFlow(int dtype) {
  if (dtype > kReferenceTypeOffset) dtype -= kReferenceTypeOffset;
  for (const DTypePair& pair : kDTypes) {
    if (pair.tensorflow == dtype) return pair.tenon;
  }
  return std::nullopt;
}

std::optional<TF_DataType> DTypeToTensorFlow(DType dtype) {
  for (const DTypePair& pair : kDTypes) {
    if (pair.tenon == dtype) return pair.tensorflow;
  }
  return std::nullopt;
}

std::string TensorFlowDTypeName(int dtype) {
  if (dtype > kReferenceTypeOffset) dtype -= kReferenceTypeOffset;
  if (dtype == TF_RESOURCE) return "resource";
  if (dtype == TF_VARIANT) return "variant";
  if (const auto known = DTypeFromTensorFlow(dtype)) return std::string(DTypeName(*known));
  return "TensorFlow type " + std::to_string(dtype);
}

Result<Feed> ToTensorFlow(const Api& api, const Tensor& tensor, FeedMemory memory,
                          const std::string& name) {
  const auto dtype = DTypeToTensorFlow(tensor.dtype);
  if (!dtype) {
    return Status(StatusCode::kUnsupported, "expected a dtype TensorFlow has for \"" + name +
                                                "\", received " +
                                                std::string(DTypeName(tensor.dtype)));
  }
  if (tensor.shape.size() > kMaxRank) {
    return Status(StatusCode::kShape, "expected at most " + std::to_string(kMaxRank) +
                                          " dimensions, which is TensorFlow's limit, for \"" +
                                          name + "\", received " +
                                          std::to_string(tensor.shape.size()));
  }
  const auto count = ElementCount(tensor.shape);
  const auto length = count ? EngineByteLength(tensor.dtype, *count) : std::nullopt;
  if (!length) {
    return Status(StatusCode::kTooLarge, "expected a shape that fits for \"" + name +
                                             "\", received " + ShapeToString(tensor.shape));
  }
  // TensorFlow goes by the shape and reads that far.
  const bool complete = tensor.dtype == DType::kString
                            ? tensor.strings != nullptr && tensor.strings->size() == *count
                            : DTypeByteLength(tensor.dtype, *count) == tensor.byte_length;
  if (!complete) {
    return Status(
        StatusCode::kDataLength,
        "expected data for shape " + ShapeToString(tensor.shape) + " of \"" + name + "\"");
  }

  if (tensor.dtype == DType::kString) {
    auto elements = std::make_shared<StringElements>(api);
    if (!elements->Write(*tensor.strings)) return OutOfMemory(name);
    return Adopt(api, *dtype, tensor.shape, elements->data(), *length, elements, name);
  }
  // TensorFlow wants a pointer even where there is nothing behind it.
  if (memory == FeedMemory::kPassed && tensor.owner != nullptr && tensor.data != nullptr &&
      !IsPacked(tensor.dtype)) {
    return Adopt(api, *dtype, tensor.shape, tensor.data, *length, tensor.owner, name);
  }
  std::shared_ptr<void> copy = AllocateAligned(*length);
  if (copy == nullptr) return OutOfMemory(name);
  if (*length > 0) {
    if (IsPacked(tensor.dtype)) {
      Unpack(static_cast<const unsigned char*>(tensor.data), *count, DTypeBits(tensor.dtype),
             static_cast<unsigned char*>(copy.get()));
    } else {
      std::memcpy(copy.get(), tensor.data, *length);
    }
  }
  void* data = copy.get();
  return Adopt(api, *dtype, tensor.shape, data, *length, std::move(copy), name);
}

Result<Tensor> FromTensorFlow(const Api& api, TensorHandle tensor, DType dtype,
                              const std::string& name) {
  const int engine_dtype = api.TF_TensorType(tensor.get());
  const auto received = DTypeFromTensorFlow(engine_dtype);
  if (!received) {
    return Status(StatusCode::kUnsupported, "expected an output Tenon has a dtype for, but \"" +
                                                name + "\" is of " +
                                                TensorFlowDTypeName(engine_dtype));
  }
  if (*received != dtype) {
    return Status(StatusCode::kRun, "expected dtype " + std::string(DTypeName(dtype)) + " of \"" +
                                        name + "\", received " + std::string(DTypeName(*received)));
  }

  Tensor result;
  result.dtype = dtype;
  result.exclusive = true;
  const int rank = api.TF_NumDims(tensor.get());
  result.shape.reserve(rank > 0 ? static_cast<size_t>(rank) : 0);
  for (int i = 0; i < rank; ++i) result.shape.push_back(api.TF_Dim(tensor.get(), i));
  const auto count = ElementCount(result.shape);
  const auto length = count ? EngineByteLength(dtype, *count) : std::nullopt;
  const size_t engine_length = api.TF_TensorByteSize(tensor.get());
  if (!length || *length > engine_length) {
    return Status(StatusCode::kRun, "expected a buffer that holds shape " +
                                        ShapeToString(result.shape) + " of \"" + name +
                                        "\", received " + std::to_string(engine_length) + " bytes");
  }
  const void* data = api.TF_TensorData(tensor.get());
  if (data == nullptr && *count > 0) {
    return Status(StatusCode::kRun, "expected the memory of \"" + name + "\", received none");
  }

  if (dtype == DType::kString) {
    auto table = std::make_shared<StringTable>();
    table->offsets.reserve(*count + 1);
    const auto* elements = static_cast<const TF_TString*>(data);
    for (size_t i = 0; i < *count; ++i) table->Append(ReadString(api, elements[i]));
    result.strings = std::move(table);
    return result;
  }

  result.byte_length = DTypeByteLength(dtype, *count).value_or(0);
  const bool empty = result.byte_length == 0;
  if (!IsPacked(dtype) && !empty && api.TF_TensorMaybeMove(tensor.get()) != nullptr) {
    result.data = api.TF_TensorData(tensor.get());
    result.owner = std::shared_ptr<void>(
        tensor.release(),
        [free = api.TF_DeleteTensor](void* moved) { free(static_cast<TF_Tensor*>(moved)); });
    return result;
  }
  result.owner = AllocateAligned(result.byte_length);
  if (result.owner == nullptr) return OutOfMemory(name);
  result.data = result.owner.get();
  if (empty) return result;
  if (IsPacked(dtype)) {
    Pack(static_cast<const unsigned char*>(data), *count, DTypeBits(dtype),
         static_cast<unsigned char*>(result.data));
  } else {
    std::memcpy(result.data, data, result.byte_length);
  }
  return result;
}

}  // namespace tenon::tensorflow
