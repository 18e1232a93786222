#include "engines/tensorflow/tensor.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "engines/tensorflow/guard.h"
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
  return Feed{std::move(tensor), true, std::move(watched)};
}

// Whether somebody else holds the memory of `tensor`, or it is not TensorFlow's to
// begin with. Not to be asked of a tensor without bytes, which may have no memory.
bool IsShared(const Api& api, TF_Tensor* tensor) {
  return api.TF_TensorMaybeMove(tensor) == nullptr;
}

// `count` elements, not strings, from Tenon's packing into TensorFlow's.
void CopyToEngine(const Tensor& tensor, size_t count, void* to) {
  if (count == 0) return;
  if (IsPacked(tensor.dtype)) {
    Unpack(static_cast<const unsigned char*>(tensor.data), count, DTypeBits(tensor.dtype),
           static_cast<unsigned char*>(to));
  } else {
    std::memcpy(to, tensor.data, tensor.byte_length);
  }
}

// And back.
void CopyFromEngine(const void* from, DType dtype, size_t count, void* to) {
  if (count == 0) return;
  if (IsPacked(dtype)) {
    Pack(static_cast<const unsigned char*>(from), count, DTypeBits(dtype),
         static_cast<unsigned char*>(to));
  } else {
    std::memcpy(to, from, DTypeByteLength(dtype, count).value_or(0));
  }
}

// Where and how much an output is.
struct Layout {
  Shape shape;
  size_t count = 0;
  const void* data = nullptr;
};

Status CheckDType(const Api& api, const TF_Tensor* tensor, DType dtype, const std::string& name) {
  const int engine_dtype = api.TF_TensorType(tensor);
  const auto received = DTypeFromTensorFlow(engine_dtype);
  if (!received) {
    return {StatusCode::kUnsupported, "expected an output Tenon has a dtype for, but \"" + name +
                                          "\" is of " + TensorFlowDTypeName(engine_dtype)};
  }
  if (*received == dtype) return {};
  return {StatusCode::kRun, "expected dtype " + std::string(DTypeName(dtype)) + " of \"" + name +
                                "\", received " + std::string(DTypeName(*received))};
}

Shape ShapeOf(const Api& api, const TF_Tensor* tensor) {
  const int rank = api.TF_NumDims(tensor);
  Shape shape;
  shape.reserve(rank > 0 ? static_cast<size_t>(rank) : 0);
  for (int i = 0; i < rank; ++i) shape.push_back(api.TF_Dim(tensor, i));
  return shape;
}

// That the memory of `tensor` holds `shape`.
Status CheckMemory(const Api& api, const TF_Tensor* tensor, DType dtype, const Shape& shape,
                   const std::string& name) {
  const auto count = ElementCount(shape);
  const auto length = count ? EngineByteLength(dtype, *count) : std::nullopt;
  const size_t engine_length = api.TF_TensorByteSize(tensor);
  if (!length || *length > engine_length) {
    return {StatusCode::kRun, "expected a buffer that holds shape " + ShapeToString(shape) +
                                  " of \"" + name + "\", received " +
                                  std::to_string(engine_length) + " bytes"};
  }
  if (*count > 0 && api.TF_TensorData(tensor) == nullptr) {
    return {StatusCode::kRun, "expected the memory of \"" + name + "\", received none"};
  }
  return {};
}

Result<Layout> LayoutOf(const Api& api, const TF_Tensor* tensor, DType dtype,
                        const std::string& name) {
  TENON_RETURN_IF_ERROR(CheckDType(api, tensor, dtype, name));
  Layout layout;
  layout.shape = ShapeOf(api, tensor);
  TENON_RETURN_IF_ERROR(CheckMemory(api, tensor, dtype, layout.shape, name));
  layout.count = *ElementCount(layout.shape);
  layout.data = api.TF_TensorData(tensor);
  return layout;
}

std::shared_ptr<const StringTable> ReadStrings(const Api& api, const Layout& layout) {
  auto table = std::make_shared<StringTable>();
  table->offsets.reserve(layout.count + 1);
  const auto* elements = static_cast<const TF_TString*>(layout.data);
  for (size_t i = 0; i < layout.count; ++i) table->Append(ReadString(api, elements[i]));
  return table;
}

// A tensor of its own with the elements of `layout`.
Result<Tensor> CopyOf(const Api& api, Layout layout, DType dtype, const std::string& name) {
  Tensor result;
  result.dtype = dtype;
  result.exclusive = true;
  if (dtype == DType::kString) {
    result.strings = ReadStrings(api, layout);
    result.shape = std::move(layout.shape);
    return result;
  }
  result.byte_length = DTypeByteLength(dtype, layout.count).value_or(0);
  result.owner = AllocateAligned(result.byte_length);
  if (result.owner == nullptr) return OutOfMemory(name);
  result.data = result.owner.get();
  CopyFromEngine(layout.data, dtype, layout.count, result.data);
  result.shape = std::move(layout.shape);
  return result;
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
  if (memory == FeedMemory::kPassed && CanPass(tensor)) {
    return Adopt(api, *dtype, tensor.shape, tensor.data, *length, tensor.owner, name);
  }
  TensorHandle copy(api.TF_AllocateTensor(*dtype, tensor.shape.data(),
                                          static_cast<int>(tensor.shape.size()), *length),
                    api.TF_DeleteTensor);
  if (copy == nullptr || (*length > 0 && api.TF_TensorData(copy.get()) == nullptr)) {
    return OutOfMemory(name);
  }
  CopyToEngine(tensor, *count, api.TF_TensorData(copy.get()));
  return Feed{std::move(copy), false, {}};
}

bool CanPass(const Tensor& tensor) {
  return tensor.dtype != DType::kString && !IsPacked(tensor.dtype) && tensor.owner != nullptr &&
         tensor.byte_length > kMaxCopiedBytes &&
         reinterpret_cast<uintptr_t>(tensor.data) % kTensorAlignment == 0;
}

void Refill(const Api& api, const Tensor& tensor, TF_Tensor* fed) {
  CopyToEngine(tensor, ElementCount(tensor.shape).value_or(0), api.TF_TensorData(fed));
}

bool Overlaps(const Tensor& one, const Tensor& other) {
  const auto begin = reinterpret_cast<uintptr_t>(one.data);
  const auto other_begin = reinterpret_cast<uintptr_t>(other.data);
  return begin < other_begin + other.byte_length && other_begin < begin + one.byte_length;
}

bool IsKept(const Api& api, Feed* feed) {
  if (!feed->passed) return IsShared(api, feed->tensor.get());
  feed->tensor.reset();
  return !feed->hold.expired();
}

Result<Tensor> FromTensorFlow(const Api& api, TensorHandle tensor, DType dtype,
                              const std::string& name) {
  auto layout = LayoutOf(api, tensor.get(), dtype, name);
  if (!layout.ok()) return layout.status();
  if (dtype == DType::kString || IsPacked(dtype) || layout->count == 0 ||
      IsShared(api, tensor.get())) {
    return CopyOf(api, std::move(*layout), dtype, name);
  }
  Tensor result;
  result.dtype = dtype;
  result.exclusive = true;
  result.byte_length = DTypeByteLength(dtype, layout->count).value_or(0);
  result.shape = std::move(layout->shape);
  result.data = api.TF_TensorData(tensor.get());
  result.owner = std::shared_ptr<void>(tensor.release(), [free = api.TF_DeleteTensor](void* moved) {
    free(static_cast<TF_Tensor*>(moved));
  });
  return result;
}

Status CheckInto(const Api& api, const TF_Tensor* tensor, const Tensor& into,
                 const std::string& name) {
  TENON_RETURN_IF_ERROR(CheckDType(api, tensor, into.dtype, name));
  const int rank = api.TF_NumDims(tensor);
  bool same = static_cast<size_t>(rank) == into.shape.size();
  for (int i = 0; same && i < rank; ++i) {
    same = api.TF_Dim(tensor, i) == into.shape[static_cast<size_t>(i)];
  }
  if (!same) {
    return {StatusCode::kShape, "expected shape " + ShapeToString(into.shape) + " for output \"" +
                                    name + "\", that of the tensor it goes into, received " +
                                    ShapeToString(ShapeOf(api, tensor))};
  }
  return CheckMemory(api, tensor, into.dtype, into.shape, name);
}

void CopyInto(const Api& api, const TF_Tensor* tensor, const Tensor& into) {
  CopyFromEngine(api.TF_TensorData(tensor), into.dtype, ElementCount(into.shape).value_or(0),
                 into.data);
}

TensorFlowEngineTensor::TensorFlowEngineTensor(std::shared_ptr<const Library> library,
                                               TensorHandle tensor, DType dtype, Shape shape,
                                               size_t byte_length)
    : library_(std::move(library)),
      tensor_(std::move(tensor)),
      dtype_(dtype),
      shape_(std::move(shape)),
      byte_length_(byte_length) {}

Result<std::shared_ptr<const EngineTensor>> TensorFlowEngineTensor::Keep(
    std::shared_ptr<const Library> library, TensorHandle tensor, DType dtype,
    const std::string& name, const std::vector<const TensorFlowEngineTensor*>& fed) {
  const Api& api = library->api();
  auto layout = LayoutOf(api, tensor.get(), dtype, name);
  if (!layout.ok()) return layout.status();

  size_t byte_length = 0;
  if (dtype == DType::kString) {
    const auto* elements = static_cast<const TF_TString*>(layout->data);
    for (size_t i = 0; i < layout->count; ++i) byte_length += ReadString(api, elements[i]).size();
  } else {
    byte_length = DTypeByteLength(dtype, layout->count).value_or(0);
  }

  bool safe = layout->count == 0 || !IsShared(api, tensor.get());
  for (size_t i = 0; i < fed.size() && !safe; ++i) {
    // Its memory, whole or a part of it, which nobody writes to: TensorFlow reuses
    // no memory that is held elsewhere, and this is held for as long as `tensor`.
    const auto begin = reinterpret_cast<uintptr_t>(api.TF_TensorData(fed[i]->tensor()));
    const auto data = reinterpret_cast<uintptr_t>(layout->data);
    safe = data >= begin && data < begin + api.TF_TensorByteSize(fed[i]->tensor());
  }
  if (!safe) {
    Shape shape = layout->shape;
    auto copy = CopyOf(api, std::move(*layout), dtype, name);
    if (!copy.ok()) return copy.status();
    auto copied = ToTensorFlow(api, *copy, FeedMemory::kPassed, name);
    if (!copied.ok()) return copied.status();
    tensor = std::move(copied->tensor);
    layout->shape = std::move(shape);
  }
  return std::shared_ptr<const EngineTensor>(std::make_shared<TensorFlowEngineTensor>(
      std::move(library), std::move(tensor), dtype, std::move(layout->shape), byte_length));
}

const std::string& TensorFlowEngineTensor::device() const {
  static const std::string& cpu = *new std::string("cpu");
  return cpu;
}

// Always a copy: this tensor may be fed again while the caller writes to his.
Result<Tensor> TensorFlowEngineTensor::ToHost() const {
  return Guarded([&]() -> Result<Tensor> {
    auto layout = LayoutOf(library_->api(), tensor_.get(), dtype_, "a kept tensor");
    if (!layout.ok()) return layout.status();
    return CopyOf(library_->api(), std::move(*layout), dtype_, "a kept tensor");
  });
}

}  // namespace tenon::tensorflow
