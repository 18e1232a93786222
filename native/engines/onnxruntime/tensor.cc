#include "engines/onnxruntime/tensor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/shape.h"
#include "engines/onnxruntime/device_turn.h"
#include "engines/onnxruntime/empty_sequence.h"
#include "engines/onnxruntime/engine_tensor.h"
#include "engines/onnxruntime/small_array.h"
#include "engines/onnxruntime/status.h"
#include "platform/aligned_memory.h"

namespace tenon::onnxruntime {
namespace {

// By the engine's number.
constexpr std::array<DType, kElementTypeCount> kDTypes = {
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
constexpr size_t kWidestElement = 8;
size_t ElementAlignment(DType dtype) {
  const size_t bytes = static_cast<size_t>(DTypeBits(dtype)) / 8;
  return std::clamp<size_t>(bytes, 1, kWidestElement);
}

Status OutOfMemory(size_t byte_length) {
  return {StatusCode::kOutOfMemory, "cannot allocate " + std::to_string(byte_length) + " bytes"};
}

Status MakeStrings(const Tensor& tensor, FeedContext* context, ValueHandle* handle) {
  const Api& api = context->library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  TENON_RETURN_IF_ERROR(check(api.CreateTensorAsOrtValue(
      context->library.allocator(), tensor.shape.data(), tensor.shape.size(),
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
  context->copied_bytes += strings.bytes.size();
  return {};
}

Status ReadTypeAndShape(const Api& api, const OrtValue* value, OrtElementType* type, Shape* shape) {
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  if (api.GetTensorElementTypeAndShapeDataReference != nullptr) {
    const int64_t* sizes = nullptr;
    size_t rank = 0;
    TENON_RETURN_IF_ERROR(
        check(api.GetTensorElementTypeAndShapeDataReference(value, type, &sizes, &rank)));
    shape->assign(sizes, sizes + rank);
    return {};
  }
  TensorInfoHandle info;
  TENON_RETURN_IF_ERROR(check(api.GetTensorTypeAndShape(value, Receiver(api, &info))));
  TENON_RETURN_IF_ERROR(check(api.GetTensorElementType(info.get(), type)));
  size_t rank = 0;
  TENON_RETURN_IF_ERROR(check(api.GetDimensionsCount(info.get(), &rank)));
  shape->resize(rank);
  return check(api.GetDimensions(info.get(), shape->data(), rank));
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

// The tensor of an output, over the engine's own memory.
Status TakeTensor(const Library& library, ValueHandle handle, const std::string& name,
                  bool may_be_on_device, uint64_t* copied_bytes, Tensor* tensor) {
  TensorDescription description;
  TENON_RETURN_IF_ERROR(
      DescribeTensor(library, handle.get(), name, may_be_on_device, &description));
  if (description.dtype == DType::kString || !description.in_host_memory) {
    TENON_RETURN_IF_ERROR(CopyToHost(library, handle.get(), description, name, tensor));
    if (tensor->strings != nullptr) *copied_bytes += tensor->strings->bytes.size();
    return {};
  }
  tensor->dtype = description.dtype;
  tensor->shape = std::move(description.shape);
  tensor->byte_length = description.byte_length;
  tensor->data = description.data;
  tensor->owner = std::shared_ptr<void>(std::move(handle));
  tensor->exclusive = true;
  return {};
}

// The bytes of one tensor, to find tensors that share memory. `output` is null
// for what is not an output in memory of its own.
struct MemoryRange {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  Tensor* output = nullptr;

  bool Overlaps(const MemoryRange& other) const { return begin < other.end && other.begin < end; }
};

MemoryRange RangeOf(const void* data, size_t byte_length, Tensor* output = nullptr) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
  return {begin, begin + byte_length, output};
}

// The host memory of a tensor or a tensor of the engine; empty for all else.
MemoryRange RangeOf(const Value& value) {
  if (value.kind == Value::Kind::kTensor) {
    return RangeOf(value.tensor.data, value.tensor.byte_length);
  }
  if (value.kind == Value::Kind::kEngineTensor) {
    const auto* tensor = OnnxEngineTensor::From(value.engine_tensor.get());
    if (tensor != nullptr && tensor->host_data() != nullptr) {
      return RangeOf(tensor->host_data(), tensor->byte_length());
    }
  }
  return {};
}

void AddRanges(const Value& feed, std::vector<MemoryRange>* ranges) {
  const MemoryRange range = RangeOf(feed);
  if (range.begin != range.end) ranges->push_back(range);
  for (const Value& item : feed.items) AddRanges(item, ranges);
}

void AddOutputRanges(Value* output, std::vector<MemoryRange>* ranges) {
  Tensor& tensor = output->tensor;
  if (output->kind == Value::Kind::kTensor && tensor.byte_length > 0) {
    ranges->push_back(RangeOf(tensor.data, tensor.byte_length, &tensor));
  }
  for (Value& item : output->items) AddOutputRanges(&item, ranges);
}

bool HoldsItems(const Value& value) {
  return value.kind == Value::Kind::kSequence || value.kind == Value::Kind::kMap;
}

bool GoesToHostMemoryOfItsOwn(const RunRequest& request, size_t output) {
  return request.targets.empty() || request.targets[output].kind == OutputTarget::Kind::kHost;
}

// Up to how many feeds and outputs are compared each with each, which for so
// few is a tenth of what collecting and sorting them costs.
constexpr size_t kFew = 16;

// True only where the few tensors there are lie apart.
bool LieApart(const RunRequest& request, const FeedContext& context,
              const std::vector<Value>& outputs) {
  if (request.feeds.size() + outputs.size() > kFew || !context.stand_ins.empty()) return false;
  for (const Value& feed : request.feeds) {
    if (HoldsItems(feed)) return false;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (HoldsItems(outputs[i])) return false;
    const MemoryRange range = RangeOf(outputs[i]);
    if (range.begin == range.end || !GoesToHostMemoryOfItsOwn(request, i)) continue;
    for (const Value& feed : request.feeds) {
      if (range.Overlaps(RangeOf(feed))) return false;
    }
    for (size_t j = 0; j < outputs.size(); ++j) {
      if (j != i && range.Overlaps(RangeOf(outputs[j]))) return false;
    }
  }
  return true;
}

Status MoveToOwnMemory(Tensor* tensor) {
  std::shared_ptr<void> memory = AllocateAligned(tensor->byte_length);
  if (memory == nullptr) return OutOfMemory(tensor->byte_length);
  std::memcpy(memory.get(), tensor->data, tensor->byte_length);
  tensor->data = memory.get();
  tensor->owner = std::move(memory);
  return {};
}

// The spec of what is inside: of a sequence's items, of a map's values.
const ValueSpec& ElementOf(const ValueSpec& spec) {
  const ValueSpec* inner = &spec;
  while (inner->kind == ValueSpec::Kind::kOptional) inner = inner->element.get();
  return inner->element == nullptr ? *inner : *inner->element;
}

// A tensor of the engine, as a session whose memory is all host memory takes it.
Status MakeHostFeed(const OnnxEngineTensor& tensor, const std::string& name, FeedContext* context,
                    ValueHandle* made) {
  auto host = tensor.ToHost();
  if (!host.ok()) return host.status();
  TENON_RETURN_IF_ERROR(MakeTensor(*host, name, context, made));
  context->stand_ins.push_back({host->owner, host->byte_length, nullptr});
  return {};
}

}  // namespace

OrtElementType ToElementType(DType dtype) { return kElementTypes[static_cast<size_t>(dtype)]; }

DType FromElementType(OrtElementType type) {
  return type < 0 || static_cast<size_t>(type) >= kDTypes.size()
             ? DType::kUndefined
             : kDTypes[static_cast<size_t>(type)];
}

Status MakeTensor(const Tensor& tensor, const std::string& name, FeedContext* context,
                  ValueHandle* handle) {
  if (tensor.dtype == DType::kString) return MakeStrings(tensor, context, handle);
  const Library& library = context->library;
  const OrtElementType type = ToElementType(tensor.dtype);
  if (type == 0) {
    return {StatusCode::kUnsupported, "expected a dtype that ONNX Runtime has for \"" + name +
                                          "\", received " + std::string(DTypeName(tensor.dtype))};
  }
  // An empty tensor may come without memory, which the engine does not take.
  static constinit uint64_t nothing = 0;
  void* data = tensor.data == nullptr ? &nothing : tensor.data;
  if (reinterpret_cast<uintptr_t>(data) % kWidestElement != 0 &&
      reinterpret_cast<uintptr_t>(data) % ElementAlignment(tensor.dtype) != 0) {
    std::shared_ptr<void> copy = AllocateAligned(tensor.byte_length);
    if (copy == nullptr) return OutOfMemory(tensor.byte_length);
    std::memcpy(copy.get(), data, tensor.byte_length);
    context->copied_bytes += tensor.byte_length;
    context->stand_ins.push_back({copy, tensor.byte_length, data});
    data = copy.get();
  }
  const Api& api = library.api();
  const auto create = [&](OrtElementType number) {
    return api.CreateTensorWithDataAsOrtValue(library.cpu_memory(), data, tensor.byte_length,
                                              tensor.shape.data(), tensor.shape.size(), number,
                                              Receiver(api, handle));
  };
  if (type <= kLastTypeNumberedAsInOnnx) return TakeStatus(api, create(type), StatusCode::kRun);

  // The engine's numbers part from those of onnx.proto here, and 1.30 takes the
  // latter when it makes a tensor, though it gives the former when asked for its
  // type. So the type that was made is read back, and the other number tried.
  for (const OrtElementType number : {type, NumberInOnnx(tensor.dtype)}) {
    if (!TakeStatus(api, create(number), StatusCode::kRun).ok()) continue;
    OrtElementType made = 0;
    Shape shape;
    TENON_RETURN_IF_ERROR(ReadTypeAndShape(api, handle->get(), &made, &shape));
    if (made == type) return {};
  }
  return {StatusCode::kUnsupported, "expected a dtype that ONNX Runtime " + library.version() +
                                        " can be fed for \"" + name + "\", received " +
                                        std::string(DTypeName(tensor.dtype))};
}

Status MakeFeed(const Value& feed, const ValueSpec& spec, const std::string& name,
                FeedContext* context, ValueHandle* made, const OrtValue** value) {
  switch (feed.kind) {
    case Value::Kind::kTensor: {
      const Status status = MakeTensor(feed.tensor, name, context, made);
      *value = made->get();
      return status;
    }
    case Value::Kind::kEngineTensor: {
      const auto* tensor = OnnxEngineTensor::From(feed.engine_tensor.get());
      if (tensor == nullptr) {
        return {StatusCode::kUnsupported, "expected a tensor of ONNX Runtime for \"" + name +
                                              "\", received another engine's"};
      }
      if (tensor->in_host_memory() || context->may_be_on_device) {
        *value = tensor->value();
        return {};
      }
      const Status status = MakeHostFeed(*tensor, name, context, made);
      *value = made->get();
      return status;
    }
    case Value::Kind::kSequence:
    case Value::Kind::kMap: break;
    case Value::Kind::kNone:
      return {StatusCode::kUnsupported, "expected a value inside \"" + name +
                                            "\": ONNX Runtime takes no absent optional there"};
  }
  const ValueSpec& element = ElementOf(spec);
  if (feed.items.empty()) return FindEmptySequence(context->library, element, name, value);
  std::vector<ValueHandle> items(feed.items.size());
  std::vector<const OrtValue*> pointers(feed.items.size());
  for (size_t i = 0; i < feed.items.size(); ++i) {
    const Value& item = feed.items[i];
    if (item.kind == Value::Kind::kEngineTensor) {
      // Kernels of sequences run on the CPU, and nothing moves what a sequence holds.
      const auto* tensor = OnnxEngineTensor::From(item.engine_tensor.get());
      if (tensor != nullptr && !tensor->in_host_memory()) {
        TENON_RETURN_IF_ERROR(MakeHostFeed(*tensor, name, context, &items[i]));
        pointers[i] = items[i].get();
        continue;
      }
    }
    TENON_RETURN_IF_ERROR(MakeFeed(item, element, name, context, &items[i], &pointers[i]));
  }
  // The new value shares or copies its items, so the handles may go.
  const Api& api = context->library.api();
  TENON_RETURN_IF_ERROR(
      TakeStatus(api,
                 api.CreateValue(pointers.data(), pointers.size(),
                                 feed.kind == Value::Kind::kMap ? kOrtTypeMap : kOrtTypeSequence,
                                 Receiver(api, made)),
                 StatusCode::kUnsupported));
  *value = made->get();
  return {};
}

Status DescribeTensor(const Library& library, OrtValue* value, const std::string& name,
                      bool may_be_on_device, TensorDescription* description) {
  const Api& api = library.api();
  TENON_RETURN_IF_ERROR(ReadTypeAndShape(api, value, &description->type, &description->shape));
  description->dtype = FromElementType(description->type);
  if (description->dtype == DType::kString) return {};
  if (description->dtype == DType::kUndefined) {
    return {StatusCode::kUnsupported, "expected output \"" + name +
                                          "\" of a dtype that Tenon has, received ONNX type " +
                                          std::to_string(description->type)};
  }
  const auto count = ElementCount(description->shape);
  const auto byte_length = count ? DTypeByteLength(description->dtype, *count) : std::nullopt;
  if (!byte_length) {
    return {StatusCode::kTooLarge, "expected a byte length that fits for output \"" + name +
                                       "\", received shape " + ShapeToString(description->shape)};
  }
  description->byte_length = *byte_length;
  // How the engine packs what is narrower than a byte is its own affair; never
  // read more than it holds.
  if (DTypeBits(description->dtype) < 8 && api.GetTensorSizeInBytes != nullptr) {
    size_t held = 0;
    TENON_RETURN_IF_ERROR(
        TakeStatus(api, api.GetTensorSizeInBytes(value, &held), StatusCode::kRun));
    if (held < description->byte_length) {
      return {StatusCode::kUnsupported, "expected " + std::to_string(description->byte_length) +
                                            " bytes for output \"" + name + "\", received " +
                                            std::to_string(held)};
    }
  }
  if (may_be_on_device) {
    TENON_RETURN_IF_ERROR(IsInHostMemory(api, value, &description->in_host_memory));
    if (!description->in_host_memory) return {};
  }
  return TakeStatus(api, api.GetTensorMutableData(value, &description->data), StatusCode::kRun);
}

Status CopyBytes(const Library& library, const OrtValue* value,
                 const TensorDescription& description, const std::string& name, void* to) {
  if (description.byte_length == 0) return {};
  if (description.in_host_memory) {
    // An output may be the feed that lies where it is to go.
    std::memmove(to, description.data, description.byte_length);
    return {};
  }
  const Api& api = library.api();
  if (api.CopyTensors == nullptr) {
    return {StatusCode::kUnsupported, "expected output \"" + name +
                                          "\" in host memory: ONNX Runtime " + library.version() +
                                          " cannot copy it from its device, 1.23 and newer can"};
  }
  // Whose device it is, the value does not say; other devices' copies are short.
  const DeviceTurn turn(true);
  ValueHandle copy;
  TENON_RETURN_IF_ERROR(TakeStatus(
      api,
      api.CreateTensorWithDataAsOrtValue(library.cpu_memory(), to, description.byte_length,
                                         description.shape.data(), description.shape.size(),
                                         description.type, Receiver(api, &copy)),
      StatusCode::kRun));
  OrtValue* const target = copy.get();
  return TakeStatus(api, api.CopyTensors(library.env(), &value, &target, nullptr, 1),
                    StatusCode::kRun);
}

Status CopyToHost(const Library& library, const OrtValue* value,
                  const TensorDescription& description, const std::string& name, Tensor* tensor) {
  tensor->dtype = description.dtype;
  tensor->shape = description.shape;
  if (description.dtype == DType::kString) {
    const auto count = ElementCount(description.shape);
    if (!count) {
      return {StatusCode::kTooLarge, "expected a shape that fits for output \"" + name +
                                         "\", received " + ShapeToString(description.shape)};
    }
    return ReadStrings(library.api(), value, *count, tensor);
  }
  std::shared_ptr<void> memory = AllocateAligned(description.byte_length);
  if (memory == nullptr) return OutOfMemory(description.byte_length);
  TENON_RETURN_IF_ERROR(CopyBytes(library, value, description, name, memory.get()));
  tensor->data = memory.get();
  tensor->byte_length = description.byte_length;
  tensor->owner = std::move(memory);
  tensor->exclusive = true;
  return {};
}

namespace {

Status TakeAny(const Library& library, ValueHandle handle, const std::string& name,
               bool may_be_on_device, uint64_t* copied_bytes, Value* output) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kRun);
  };
  int has_value = 0;
  if (handle != nullptr) TENON_RETURN_IF_ERROR(check(api.HasValue(handle.get(), &has_value)));
  if (has_value == 0) return {};

  OrtValueType type = kOrtTypeUnknown;
  TENON_RETURN_IF_ERROR(check(api.GetValueType(handle.get(), &type)));
  switch (type) {
    case kOrtTypeTensor:
      output->kind = Value::Kind::kTensor;
      return TakeTensor(library, std::move(handle), name, may_be_on_device, copied_bytes,
                        &output->tensor);
    case kOrtTypeSequence: output->kind = Value::Kind::kSequence; break;
    case kOrtTypeMap: output->kind = Value::Kind::kMap; break;
    case kOrtTypeUnknown:
    case kOrtTypeOpaque:
    case kOrtTypeSparseTensor:
    case kOrtTypeOptional:
      return {StatusCode::kUnsupported,
              "expected a tensor, sequence, map or optional as output \"" + name + "\", received " +
                  (type == kOrtTypeSparseTensor ? "a sparse tensor" : "an opaque value")};
  }
  size_t count = 0;
  TENON_RETURN_IF_ERROR(check(api.GetValueCount(handle.get(), &count)));
  output->items.resize(count);
  for (size_t i = 0; i < count; ++i) {
    ValueHandle item;
    TENON_RETURN_IF_ERROR(check(api.GetValue(handle.get(), static_cast<int>(i), library.allocator(),
                                             Receiver(api, &item))));
    TENON_RETURN_IF_ERROR(
        TakeAny(library, std::move(item), name, may_be_on_device, copied_bytes, &output->items[i]));
  }
  return {};
}

}  // namespace

Status TakeOutput(const Library& library, ValueHandle handle, const ValueSpec& spec,
                  bool may_be_on_device, uint64_t* copied_bytes, Value* output) {
  if (spec.kind != ValueSpec::Kind::kTensor || handle == nullptr) {
    TENON_RETURN_IF_ERROR(
        TakeAny(library, std::move(handle), spec.name, may_be_on_device, copied_bytes, output));
    if (output->kind != Value::Kind::kNone || spec.kind == ValueSpec::Kind::kOptional) return {};
    return {StatusCode::kRun, "expected a value for output \"" + spec.name + "\", received none"};
  }
  // What is declared a tensor is one: asking for its type and whether it is there
  // would be two calls more for each output.
  output->kind = Value::Kind::kTensor;
  return TakeTensor(library, std::move(handle), spec.name, may_be_on_device, copied_bytes,
                    &output->tensor);
}

bool BelongsToFeed(const void* data, size_t byte_length, const RunRequest& request,
                   const std::vector<StandIn>& stand_ins) {
  if (byte_length == 0) return false;
  const MemoryRange wanted = RangeOf(data, byte_length);
  for (const StandIn& stand_in : stand_ins) {
    if (wanted.Overlaps(RangeOf(stand_in.memory.get(), stand_in.byte_length))) return true;
  }
  for (const Value& feed : request.feeds) {
    if (wanted.Overlaps(RangeOf(feed))) return true;
    if (!HoldsItems(feed)) continue;
    std::vector<MemoryRange> items;
    AddRanges(feed, &items);
    for (const MemoryRange& item : items) {
      if (wanted.Overlaps(item)) return true;
    }
  }
  return false;
}

Status SeparateOutputs(const RunRequest& request, FeedContext* context,
                       std::vector<Value>* outputs) {
  if (LieApart(request, *context, *outputs)) return {};
  std::vector<MemoryRange> ranges;
  for (const Value& feed : request.feeds) AddRanges(feed, &ranges);
  for (const StandIn& stand_in : context->stand_ins) {
    ranges.push_back(RangeOf(stand_in.memory.get(), stand_in.byte_length));
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    Value& output = (*outputs)[i];
    if (GoesToHostMemoryOfItsOwn(request, i)) {
      AddOutputRanges(&output, &ranges);
    } else {
      AddRanges(output, &ranges);
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const MemoryRange& a, const MemoryRange& b) { return a.begin < b.begin; });
  // Ranges that touch one another, directly or through a third, form a group;
  // every output in a group of more than one is copied.
  for (auto first = ranges.begin(); first != ranges.end();) {
    uintptr_t group_end = first->end;
    auto next = first + 1;
    for (; next != ranges.end() && next->begin < group_end; ++next) {
      group_end = std::max(group_end, next->end);
    }
    const bool shared = next - first > 1;
    for (; first != next; ++first) {
      if (!shared || first->output == nullptr) continue;
      TENON_RETURN_IF_ERROR(MoveToOwnMemory(first->output));
      context->copied_bytes += first->output->byte_length;
    }
  }
  return {};
}

}  // namespace tenon::onnxruntime
