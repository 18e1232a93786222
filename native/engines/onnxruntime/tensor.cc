#include "engines/onnxruntime/tensor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/shape.h"
#include "engines/onnxruntime/small_array.h"
#include "engines/onnxruntime/status.h"
#include "platform/aligned_memory.h"

namespace tenon::onnxruntime {
namespace {

// By the engine's number.
constexpr std::array<DType, 27> kDTypes = {
    DType::kUndefined,      DType::kFloat32,      DType::kUInt8,          DType::kInt8,
    DType::kUInt16,         DType::kInt16,        DType::kInt32,          DType::kInt64,
    DType::kString,         DType::kBool,         DType::kFloat16,        DType::kFloat64,
    DType::kUInt32,         DType::kUInt64,       DType::kComplex64,      DType::kComplex128,
    DType::kBFloat16,       DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2,
    DType::kFloat8E5M2FNUZ, DType::kUInt4,        DType::kInt4,           DType::kFloat4E2M1,
    DType::kUInt2,          DType::kInt2,         DType::kFloat8E8M0,
};

constexpr auto kElementTypes = [] {
  std::array<OrtElementType, kDTypeCount> types = {};
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    types[static_cast<size_t>(kDTypes[i])] = static_cast<OrtElementType>(i);
  }
  return types;
}();

constexpr OrtElementType kLastTypeNumberedAsInOnnx = 23;

// The number in onnx.proto of a dtype above that.
OrtElementType NumberInOnnx(DType dtype) {
  switch (dtype) {
    case DType::kFloat8E8M0: return 24;
    case DType::kUInt2: return 25;
    case DType::kInt2: return 26;
    default: return 0;
  }
}

// What a pointer must be a multiple of for the engine's kernels, which read
// elements as their C++ type. A complex number is two of its halves.
size_t ElementAlignment(DType dtype) {
  const size_t bytes = static_cast<size_t>(DTypeBits(dtype)) / 8;
  return std::clamp<size_t>(bytes, 1, 8);
}

Status OutOfMemory(size_t byte_length) {
  return {StatusCode::kOutOfMemory, "cannot allocate " + std::to_string(byte_length) + " bytes"};
}

Status MakeStringFeed(const Library& library, const Tensor& tensor, ValueHandle* handle) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  TENON_RETURN_IF_ERROR(check(
      api.CreateTensorAsOrtValue(library.allocator(), tensor.shape.data(), tensor.shape.size(),
                                 ToElementType(DType::kString), Receiver(api, handle))));
  // Written element by element: the functions that fill a tensor at once take
  // C strings and would end each element at its first NUL.
  const StringTable& strings = *tensor.strings;
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string_view element = strings[i];
    char* buffer = nullptr;
    TENON_RETURN_IF_ERROR(
        check(api.GetResizedStringTensorElementBuffer(handle->get(), i, element.size(), &buffer)));
    if (!element.empty()) std::memcpy(buffer, element.data(), element.size());
  }
  return {};
}

struct ElementTypeAndShape {
  OrtElementType type = 0;
  Shape shape;
};

Status ReadTypeAndShape(const Api& api, const OrtValue* value, ElementTypeAndShape* out) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  if (api.GetTensorElementTypeAndShapeDataReference != nullptr) {
    const int64_t* sizes = nullptr;
    size_t rank = 0;
    TENON_RETURN_IF_ERROR(
        check(api.GetTensorElementTypeAndShapeDataReference(value, &out->type, &sizes, &rank)));
    out->shape.assign(sizes, sizes + rank);
    return {};
  }
  TensorInfoHandle info;
  TENON_RETURN_IF_ERROR(check(api.GetTensorTypeAndShape(value, Receiver(api, &info))));
  TENON_RETURN_IF_ERROR(check(api.GetTensorElementType(info.get(), &out->type)));
  size_t rank = 0;
  TENON_RETURN_IF_ERROR(check(api.GetDimensionsCount(info.get(), &rank)));
  out->shape.resize(rank);
  return check(api.GetDimensions(info.get(), out->shape.data(), rank));
}

Status MakeTensorFeed(const Library& library, const Tensor& tensor, const std::string& name,
                      std::vector<std::shared_ptr<void>>* copies, ValueHandle* handle) {
  if (tensor.dtype == DType::kString) return MakeStringFeed(library, tensor, handle);
  const OrtElementType type = ToElementType(tensor.dtype);
  if (type == 0) {
    return {StatusCode::kUnsupported, "expected a dtype that ONNX Runtime has for \"" + name +
                                          "\", received " + std::string(DTypeName(tensor.dtype))};
  }
  // An empty tensor may come without memory, which the engine does not take.
  static constinit uint64_t nothing = 0;
  void* data = tensor.data == nullptr ? &nothing : tensor.data;
  if (reinterpret_cast<uintptr_t>(data) % ElementAlignment(tensor.dtype) != 0) {
    std::shared_ptr<void> copy = AllocateAligned(tensor.byte_length);
    if (copy == nullptr) return OutOfMemory(tensor.byte_length);
    std::memcpy(copy.get(), data, tensor.byte_length);
    data = copy.get();
    copies->push_back(std::move(copy));
  }
  const auto create = [&](OrtElementType number) {
    const Api& api = library.api();
    return TakeStatus(api,
                      api.CreateTensorWithDataAsOrtValue(
                          library.cpu_memory(), data, tensor.byte_length, tensor.shape.data(),
                          tensor.shape.size(), number, Receiver(api, handle)),
                      StatusCode::kRun);
  };
  if (type <= kLastTypeNumberedAsInOnnx) return create(type);

  // The engine's numbers part from those of onnx.proto here, and 1.30 takes the
  // latter when it makes a tensor, though it gives the former when asked for its
  // type. So the type that was made is read back, and the other number tried.
  for (const OrtElementType number : {type, NumberInOnnx(tensor.dtype)}) {
    if (!create(number).ok()) continue;
    ElementTypeAndShape made;
    TENON_RETURN_IF_ERROR(ReadTypeAndShape(library.api(), handle->get(), &made));
    if (made.type == type) return {};
  }
  return {StatusCode::kUnsupported, "expected a dtype that ONNX Runtime " + library.version() +
                                        " can be fed for \"" + name + "\", received " +
                                        std::string(DTypeName(tensor.dtype))};
}

// The value's strings, back to back as the engine copies them out.
Status ReadStrings(const Api& api, const OrtValue* value, size_t count, Tensor* tensor) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  auto strings = std::make_shared<StringTable>();
  if (count > 0) {
    size_t byte_length = 0;
    TENON_RETURN_IF_ERROR(check(api.GetStringTensorDataLength(value, &byte_length)));
    strings->bytes.resize(byte_length);
    strings->offsets.resize(count + 1);
    // Never a null pointer, even where all strings are empty.
    char none = 0;
    TENON_RETURN_IF_ERROR(
        check(api.GetStringTensorContent(value, byte_length == 0 ? &none : strings->bytes.data(),
                                         byte_length, strings->offsets.data(), count)));
    strings->offsets[count] = byte_length;
  }
  tensor->strings = std::move(strings);
  tensor->exclusive = true;
  return {};
}

// True where the host can read the tensor's memory.
Status IsInHostMemory(const Api& api, const OrtValue* value, bool* in_host_memory) {
  const OrtMemoryInfo* memory = nullptr;
  TENON_RETURN_IF_ERROR(TakeStatus(api, api.GetTensorMemoryInfo(value, &memory), StatusCode::kRun));
  OrtMemoryDeviceType device = kOrtMemoryCpu;
  api.MemoryInfoGetDeviceType(memory, &device);
  OrtMemType type = kOrtMemTypeDefault;
  TENON_RETURN_IF_ERROR(TakeStatus(api, api.MemoryInfoGetMemType(memory, &type), StatusCode::kRun));
  // The latter is a device's pinned memory.
  *in_host_memory =
      device == kOrtMemoryCpu || type == kOrtMemTypeCpuInput || type == kOrtMemTypeCpuOutput;
  return {};
}

// Moves the tensor to host memory of its own.
Status CopyFromDevice(const Library& library, const OrtValue* value, OrtElementType type,
                      const std::string& name, Tensor* tensor) {
  const Api& api = library.api();
  if (api.CopyTensors == nullptr) {
    return {StatusCode::kUnsupported, "expected output \"" + name +
                                          "\" in host memory: ONNX Runtime " + library.version() +
                                          " cannot copy it from its device, 1.23 and newer can"};
  }
  std::shared_ptr<void> memory = AllocateAligned(tensor->byte_length);
  if (memory == nullptr) return OutOfMemory(tensor->byte_length);
  ValueHandle copy;
  TENON_RETURN_IF_ERROR(TakeStatus(
      api,
      api.CreateTensorWithDataAsOrtValue(library.cpu_memory(), memory.get(), tensor->byte_length,
                                         tensor->shape.data(), tensor->shape.size(), type,
                                         Receiver(api, &copy)),
      StatusCode::kRun));
  OrtValue* const target = copy.get();
  TENON_RETURN_IF_ERROR(TakeStatus(api, api.CopyTensors(library.env(), &value, &target, nullptr, 1),
                                   StatusCode::kRun));
  tensor->data = memory.get();
  tensor->owner = std::move(memory);
  tensor->exclusive = true;
  return {};
}

Result<Value> TakeTensor(const Library& library, ValueHandle handle, const std::string& name,
                         bool may_be_on_device) {
  const Api& api = library.api();
  OrtValue* const value = handle.get();
  ElementTypeAndShape read;
  TENON_RETURN_IF_ERROR(ReadTypeAndShape(api, value, &read));
  Tensor tensor;
  tensor.dtype = FromElementType(read.type);
  tensor.shape = std::move(read.shape);
  if (tensor.dtype == DType::kUndefined) {
    return Status(StatusCode::kUnsupported,
                  "expected output \"" + name +
                      "\" of a dtype that Tenon has, received ONNX type " +
                      std::to_string(read.type));
  }
  const auto count = ElementCount(tensor.shape);
  if (tensor.dtype == DType::kString && count) {
    TENON_RETURN_IF_ERROR(ReadStrings(api, value, *count, &tensor));
    return Value::Of(std::move(tensor));
  }
  const auto byte_length = count ? DTypeByteLength(tensor.dtype, *count) : std::nullopt;
  if (!byte_length) {
    return Status(StatusCode::kTooLarge, "expected a byte length that fits for output \"" + name +
                                             "\", received shape " + ShapeToString(tensor.shape));
  }
  tensor.byte_length = *byte_length;
  // How the engine packs what is narrower than a byte is its own affair; never
  // read more than it holds.
  if (DTypeBits(tensor.dtype) < 8 && api.GetTensorSizeInBytes != nullptr) {
    size_t held = 0;
    TENON_RETURN_IF_ERROR(
        TakeStatus(api, api.GetTensorSizeInBytes(value, &held), StatusCode::kRun));
    if (held < tensor.byte_length) {
      return Status(StatusCode::kUnsupported, "expected " + std::to_string(tensor.byte_length) +
                                                  " bytes for output \"" + name + "\", received " +
                                                  std::to_string(held));
    }
  }
  bool in_host_memory = true;
  if (may_be_on_device) TENON_RETURN_IF_ERROR(IsInHostMemory(api, value, &in_host_memory));
  if (!in_host_memory) {
    TENON_RETURN_IF_ERROR(CopyFromDevice(library, value, read.type, name, &tensor));
    return Value::Of(std::move(tensor));
  }
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.GetTensorMutableData(value, &tensor.data), StatusCode::kRun));
  tensor.owner = std::shared_ptr<void>(std::move(handle));
  tensor.exclusive = true;
  return Value::Of(std::move(tensor));
}

// The bytes of one tensor, to find tensors that share memory. `output` is null
// for a feed.
struct MemoryRange {
  uintptr_t begin;
  uintptr_t end;
  Tensor* output;
};

size_t CountTensors(const Value& value) {
  if (value.kind == Value::Kind::kTensor) return 1;
  size_t count = 0;
  for (const Value& item : value.items) count += CountTensors(item);
  return count;
}

// Writes the ranges of the value's tensors from `next` on; returns where it
// ended. `AnyValue` is Value for an output, const Value for a feed.
template <typename AnyValue>
MemoryRange* AddRanges(AnyValue& value, MemoryRange* next) {
  if (value.kind == Value::Kind::kTensor) {
    auto& tensor = value.tensor;
    if (tensor.byte_length == 0) return next;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(tensor.data);
    Tensor* output = nullptr;
    if constexpr (!std::is_const_v<AnyValue>) output = &tensor;
    *next = {begin, begin + tensor.byte_length, output};
    return next + 1;
  }
  for (auto& item : value.items) next = AddRanges<AnyValue>(item, next);
  return next;
}

Status MoveToOwnMemory(Tensor* tensor) {
  std::shared_ptr<void> memory = AllocateAligned(tensor->byte_length);
  if (memory == nullptr) return OutOfMemory(tensor->byte_length);
  std::memcpy(memory.get(), tensor->data, tensor->byte_length);
  tensor->data = memory.get();
  tensor->owner = std::move(memory);
  return {};
}

}  // namespace

OrtElementType ToElementType(DType dtype) { return kElementTypes[static_cast<size_t>(dtype)]; }

DType FromElementType(OrtElementType type) {
  return type < 0 || static_cast<size_t>(type) >= kDTypes.size()
             ? DType::kUndefined
             : kDTypes[static_cast<size_t>(type)];
}

Status MakeFeed(const Library& library, const Value& feed, const std::string& name,
                std::vector<std::shared_ptr<void>>* copies, ValueHandle* handle) {
  switch (feed.kind) {
    case Value::Kind::kTensor: return MakeTensorFeed(library, feed.tensor, name, copies, handle);
    case Value::Kind::kSequence:
    case Value::Kind::kMap: break;
    case Value::Kind::kNone:
      return {StatusCode::kUnsupported, "expected a value inside \"" + name +
                                            "\": ONNX Runtime takes no absent optional there"};
  }
  if (feed.items.empty()) {
    return {StatusCode::kUnsupported, "expected at least one item for \"" + name +
                                          "\": ONNX Runtime takes no empty sequence"};
  }
  std::vector<ValueHandle> items(feed.items.size());
  std::vector<const OrtValue*> pointers(feed.items.size());
  for (size_t i = 0; i < feed.items.size(); ++i) {
    TENON_RETURN_IF_ERROR(MakeFeed(library, feed.items[i], name, copies, &items[i]));
    pointers[i] = items[i].get();
  }
  // The new value shares or copies its items, so the handles may go.
  const Api& api = library.api();
  return TakeStatus(api,
                    api.CreateValue(pointers.data(), pointers.size(),
                                    feed.kind == Value::Kind::kMap ? kOrtTypeMap : kOrtTypeSequence,
                                    Receiver(api, handle)),
                    StatusCode::kUnsupported);
}

Result<Value> TakeOutput(const Library& library, ValueHandle handle, const std::string& name,
                         bool may_be_on_device) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  int has_value = 0;
  if (handle != nullptr) TENON_RETURN_IF_ERROR(check(api.HasValue(handle.get(), &has_value)));
  if (has_value == 0) return Value{};

  OrtValueType type = kOrtTypeUnknown;
  TENON_RETURN_IF_ERROR(check(api.GetValueType(handle.get(), &type)));
  Value value;
  switch (type) {
    case kOrtTypeTensor: return TakeTensor(library, std::move(handle), name, may_be_on_device);
    case kOrtTypeSequence: value.kind = Value::Kind::kSequence; break;
    case kOrtTypeMap: value.kind = Value::Kind::kMap; break;
    case kOrtTypeUnknown:
    case kOrtTypeOpaque:
    case kOrtTypeSparseTensor:
    case kOrtTypeOptional:
      return Status(StatusCode::kUnsupported,
                    "expected a tensor, sequence, map or optional as output \"" + name +
                        "\", received " +
                        (type == kOrtTypeSparseTensor ? "a sparse tensor" : "an opaque value"));
  }
  size_t count = 0;
  TENON_RETURN_IF_ERROR(check(api.GetValueCount(handle.get(), &count)));
  value.items.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    ValueHandle item;
    TENON_RETURN_IF_ERROR(check(api.GetValue(handle.get(), static_cast<int>(i), library.allocator(),
                                             Receiver(api, &item))));
    auto taken = TakeOutput(library, std::move(item), name, may_be_on_device);
    if (!taken.ok()) return taken.status();
    value.items.push_back(std::move(*taken));
  }
  return value;
}

Status SeparateOutputs(const std::vector<Value>& feeds, std::vector<Value>* outputs) {
  size_t count = 0;
  for (const Value& feed : feeds) count += CountTensors(feed);
  for (const Value& output : *outputs) count += CountTensors(output);
  SmallArray<MemoryRange> ranges(count);
  MemoryRange* end = ranges.begin();
  for (const Value& feed : feeds) end = AddRanges<const Value>(feed, end);
  for (Value& output : *outputs) end = AddRanges<Value>(output, end);
  std::sort(ranges.begin(), end,
            [](const MemoryRange& a, const MemoryRange& b) { return a.begin < b.begin; });
  // Ranges that touch one another, directly or through a third, form a group;
  // every output in a group of more than one is copied.
  for (MemoryRange* first = ranges.begin(); first != end;) {
    uintptr_t group_end = first->end;
    MemoryRange* next = first + 1;
    for (; next != end && next->begin < group_end; ++next) {
      group_end = std::max(group_end, next->end);
    }
    const bool shared = next - first > 1;
    for (; first != next; ++first) {
      if (shared && first->output != nullptr) {
        TENON_RETURN_IF_ERROR(MoveToOwnMemory(first->output));
      }
    }
  }
  return {};
}

}  // namespace tenon::onnxruntime
