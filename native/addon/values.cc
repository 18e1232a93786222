#include "addon/values.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "addon/errors.h"
#include "addon/state.h"
#include "platform/aligned_memory.h"
#include "runtime/memory_registry.h"

namespace tenon::addon {
namespace {

// The deepest nesting of sequences and maps that is read: ONNX types are
// declared and shallow, only a cyclic or hostile object goes further.
constexpr int kMaxDepth = 16;

void Check(Napi::Env env, napi_status status) {
  if (status == napi_ok) return;
  Napi::Error error = Napi::Error::New(env);
  if (status == napi_pending_exception) throw error;
  ThrowInvalidArgument(env, "a well-formed tensor (" + error.Message() + ")");
}

[[noreturn]] void ThrowDetached(Napi::Env env) {
  throw ToError(
      env, {StatusCode::kDetached,
            "expected a tensor whose memory is there, received one over a detached ArrayBuffer"});
}

bool IsDetached(Napi::Env env, napi_value buffer) {
  bool detached = false;
  Check(env, napi_is_detached_arraybuffer(env, buffer, &detached));
  return detached;
}

struct View {
  void* data;
  size_t byte_length;
  napi_value buffer;
};

View ReadView(Napi::Env env, napi_value value) {
  View view{nullptr, 0, nullptr};
  size_t offset = 0;
  bool is_view = false;
  Check(env, napi_is_typedarray(env, value, &is_view));
  if (is_view) {
    napi_typedarray_type type;
    size_t length = 0;
    Check(env,
          napi_get_typedarray_info(env, value, &type, &length, &view.data, &view.buffer, &offset));
    static constexpr size_t kElementBytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    if (static_cast<size_t>(type) >= std::size(kElementBytes)) {
      ThrowInvalidArgument(env, "a typed array of a known element type");
    }
    view.byte_length = length * kElementBytes[type];
    return view;
  }
  Check(env, napi_is_dataview(env, value, &is_view));
  if (!is_view) ThrowInvalidArgument(env, "an ArrayBufferView for the data of a tensor");
  Check(env,
        napi_get_dataview_info(env, value, &view.byte_length, &view.data, &view.buffer, &offset));
  return view;
}

std::shared_ptr<const StringTable> ReadStrings(Napi::Env env, napi_value value) {
  bool is_array = false;
  Check(env, napi_is_array(env, value, &is_array));
  if (!is_array) ThrowInvalidArgument(env, "an array for the data of a string tensor");
  uint32_t length = 0;
  Check(env, napi_get_array_length(env, value, &length));
  auto table = std::make_shared<StringTable>();
  table->offsets.reserve(static_cast<size_t>(length) + 1);
  for (uint32_t i = 0; i < length; ++i) {
    Napi::HandleScope scope(env);
    napi_value element;
    Check(env, napi_get_element(env, value, i, &element));
    napi_valuetype type;
    Check(env, napi_typeof(env, element, &type));
    if (type == napi_string) {
      size_t bytes = 0;
      Check(env, napi_get_value_string_utf8(env, element, nullptr, 0, &bytes));
      const size_t start = table->bytes.size();
      // One byte more than needed: Node-API ends what it writes with a NUL.
      table->bytes.resize(start + bytes + 1);
      Check(env, napi_get_value_string_utf8(env, element, table->bytes.data() + start, bytes + 1,
                                            &bytes));
      table->bytes.resize(start + bytes);
      table->offsets.push_back(table->bytes.size());
    } else {
      const View view = ReadView(env, element);
      if (view.byte_length == 0 && IsDetached(env, view.buffer)) ThrowDetached(env);
      table->Append({static_cast<const char*>(view.data), view.byte_length});
    }
  }
  return table;
}

// Makes memory of its own the tensor's, with a copy of what is at `data`.
void CopyInto(Napi::Env env, const void* data, size_t byte_length, Tensor* tensor,
              ByteCounts* bytes) {
  bytes->copied.fetch_add(byte_length, std::memory_order_relaxed);
  tensor->byte_length = byte_length;
  tensor->owner = AllocateAligned(byte_length);
  if (tensor->owner == nullptr) {
    throw ToError(env, {StatusCode::kOutOfMemory,
                        "expected memory for a feed of " + std::to_string(byte_length) + " bytes"});
  }
  tensor->data = tensor->owner.get();
  if (byte_length > 0) std::memcpy(tensor->data, data, byte_length);
}

enum class Purpose { kFeed, kTarget };

Tensor ReadTensor(Napi::Env env, napi_value array, Purpose purpose, FeedMemory memory,
                  ByteCounts* bytes) {
  Tensor tensor;
  napi_value item;

  uint32_t dtype_number = 0;
  Check(env, napi_get_element(env, array, 0, &item));
  Check(env, napi_get_value_uint32(env, item, &dtype_number));
  const auto dtype = DTypeFromNumber(dtype_number);
  if (!dtype)
    ThrowInvalidArgument(env, "the number of a dtype, received " + std::to_string(dtype_number));
  tensor.dtype = *dtype;

  Check(env, napi_get_element(env, array, 1, &item));
  uint32_t rank = 0;
  Check(env, napi_get_array_length(env, item, &rank));
  tensor.shape.resize(rank);
  for (uint32_t i = 0; i < rank; ++i) {
    napi_value dimension;
    Check(env, napi_get_element(env, item, i, &dimension));
    Check(env, napi_get_value_int64(env, dimension, &tensor.shape[i]));
  }

  Check(env, napi_get_element(env, array, 2, &item));
  if (tensor.dtype == DType::kString) {
    tensor.strings = ReadStrings(env, item);
    return tensor;
  }

  const View view = ReadView(env, item);
  tensor.byte_length = view.byte_length;
  bool is_array_buffer = false;
  Check(env, napi_is_arraybuffer(env, view.buffer, &is_array_buffer));
  if (is_array_buffer) {
    if (IsDetached(env, view.buffer)) ThrowDetached(env);
    void* start = nullptr;
    size_t length = 0;
    Check(env, napi_get_arraybuffer_info(env, view.buffer, &start, &length));
    const bool may_pass = memory == FeedMemory::kBorrowed || memory == FeedMemory::kKept ||
                          purpose == Purpose::kTarget || !IsIndexLike(tensor.dtype);
    if (may_pass && start != nullptr) {
      tensor.owner = memory == FeedMemory::kBorrowed ? nullptr : MemoryRegistry::Get().Find(start);
      if (tensor.owner != nullptr || memory == FeedMemory::kBorrowed ||
          memory == FeedMemory::kLent) {
        bytes->passed.fetch_add(view.byte_length, std::memory_order_relaxed);
        tensor.data = view.data;
        return tensor;
      }
    }
  }
  CopyInto(env, view.data, view.byte_length, &tensor, bytes);
  return tensor;
}

Value ReadNested(Napi::Env env, napi_value value, FeedMemory memory, ByteCounts* bytes, int depth) {
  if (depth > kMaxDepth) {
    throw ToError(env, {StatusCode::kUnsupported, "expected sequences and maps nested at most " +
                                                      std::to_string(kMaxDepth) + " deep"});
  }
  bool is_array = false;
  Check(env, napi_is_array(env, value, &is_array));
  if (is_array) return Value::Of(ReadTensor(env, value, Purpose::kFeed, memory, bytes));

  Value result;
  const Napi::Value wrapped(env, value);
  if (wrapped.IsNull()) return result;
  if (wrapped.IsExternal()) {
    result.kind = Value::Kind::kEngineTensor;
    result.engine_tensor = ReadEngineTensor(wrapped);
    bytes->passed.fetch_add(result.engine_tensor->byte_length(), std::memory_order_relaxed);
    return result;
  }
  if (!wrapped.IsObject()) ThrowInvalidArgument(env, "a tensor, sequence, map or null for a feed");
  const Napi::Object object = wrapped.As<Napi::Object>();
  const Napi::Value sequence = object.Get("sequence");
  if (sequence.IsArray()) {
    result.kind = Value::Kind::kSequence;
    const auto items = sequence.As<Napi::Array>();
    result.items.reserve(items.Length());
    for (uint32_t i = 0; i < items.Length(); ++i) {
      Napi::HandleScope scope(env);
      result.items.push_back(ReadNested(env, items.Get(i), memory, bytes, depth + 1));
    }
    return result;
  }
  result.kind = Value::Kind::kMap;
  const Napi::Value keys = object.Get("keys");
  if (!keys.IsArray()) ThrowInvalidArgument(env, "keys for a map feed");
  result.items.push_back(ReadNested(env, keys, memory, bytes, depth + 1));
  result.items.push_back(ReadNested(env, object.Get("values"), memory, bytes, depth + 1));
  return result;
}

// Memory that is exclusively ours and large enough as it is, everything else copied.
Napi::ArrayBuffer OutputBuffer(Napi::Env env, void* data, size_t byte_length, bool exclusive,
                               std::shared_ptr<const void> owner, ByteCounts* bytes) {
  if (exclusive && byte_length >= kExternalMinBytes &&
      AddonState::Of(env).MayHandOut(byte_length)) {
    bytes->passed.fetch_add(byte_length, std::memory_order_relaxed);
    return ExternalBuffer(env, data, byte_length, std::const_pointer_cast<void>(std::move(owner)));
  }
  bytes->copied.fetch_add(byte_length, std::memory_order_relaxed);
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, byte_length);
  if (byte_length > 0) std::memcpy(copy.Data(), data, byte_length);
  return copy;
}

Napi::Value WriteTensor(Napi::Env env, const Tensor& tensor, ByteCounts* bytes) {
  napi_value result;
  Check(env, napi_create_array_with_length(env, 3, &result));
  napi_value item;
  Check(env, napi_create_uint32(env, static_cast<uint32_t>(tensor.dtype), &item));
  Check(env, napi_set_element(env, result, 0, item));

  Check(env, napi_create_array_with_length(env, tensor.shape.size(), &item));
  for (uint32_t i = 0; i < tensor.shape.size(); ++i) {
    napi_value dimension;
    Check(env, napi_create_int64(env, tensor.shape[i], &dimension));
    Check(env, napi_set_element(env, item, i, dimension));
  }
  Check(env, napi_set_element(env, result, 1, item));

  if (tensor.dtype == DType::kString) {
    const StringTable& strings = *tensor.strings;
    // The table is the output's own, so large ones are handed out like other memory.
    const auto buffer = OutputBuffer(env, const_cast<char*>(strings.bytes.data()),
                                     strings.bytes.size(), true, tensor.strings, bytes);
    Napi::Float64Array offsets = Napi::Float64Array::New(env, strings.offsets.size());
    for (size_t i = 0; i < strings.offsets.size(); ++i) {
      offsets[i] = static_cast<double>(strings.offsets[i]);
    }
    Check(env, napi_set_element(env, result, 2, buffer));
    Check(env, napi_set_element(env, result, 3, offsets));
    return {env, result};
  }

  Check(env, napi_set_element(env, result, 2,
                              OutputBuffer(env, tensor.data, tensor.byte_length, tensor.exclusive,
                                           tensor.owner, bytes)));
  return {env, result};
}

Napi::Value WriteEngineTensor(Napi::Env env, const std::shared_ptr<const EngineTensor>& tensor) {
  using Held = std::shared_ptr<const EngineTensor>;
  Napi::Array shape = Napi::Array::New(env, tensor->shape().size());
  for (uint32_t i = 0; i < tensor->shape().size(); ++i) {
    shape.Set(i, static_cast<double>(tensor->shape()[i]));
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", Napi::External<Held>::New(env, new Held(tensor),
                                                 [](Napi::Env, Held* held) { delete held; }));
  object.Set("dtype", static_cast<uint32_t>(tensor->dtype()));
  object.Set("shape", shape);
  object.Set("byteLength", static_cast<double>(tensor->byte_length()));
  object.Set("device", tensor->device());
  return object;
}

}  // namespace

Value ReadValue(Napi::Value value, FeedMemory memory, ByteCounts* bytes) {
  return ReadNested(value.Env(), value, memory, bytes, 0);
}

FeedSource ReadFeedSource(Napi::Value value) {
  const napi_env env = value.Env();
  FeedSource source;
  bool is_it = false;
  Check(env, napi_is_arraybuffer(env, value, &is_it));
  if (is_it) {
    Check(env, napi_get_arraybuffer_info(env, value, &source.data, &source.byte_length));
    if (source.byte_length == 0) {
      source.is_detached = IsDetached(env, value);
    } else {
      source.owner = MemoryRegistry::Get().Find(source.data);
    }
    return source;
  }
  Check(env, napi_is_array(env, value, &is_it));
  if (is_it) {
    source.strings = value;
    return source;
  }
  const View view = ReadView(env, value);
  source.data = view.data;
  source.byte_length = view.byte_length;
  source.is_shared = true;
  return source;
}

void ReadFeed(Napi::Env env, const FeedSource& source, size_t offset, size_t byte_length,
              Tensor* tensor, ByteCounts* bytes) {
  const bool is_string = tensor->dtype == DType::kString;
  if (is_string != (source.strings != nullptr)) {
    ThrowInvalidArgument(env, is_string ? "an array for the data of a string tensor"
                                        : "an ArrayBufferView for the data of a tensor");
  }
  if (is_string) {
    tensor->strings = ReadStrings(env, source.strings);
    return;
  }
  if (source.is_detached) ThrowDetached(env);
  if (offset > source.byte_length || byte_length > source.byte_length - offset) {
    ThrowInvalidArgument(env, "a place within its memory for the data of a tensor");
  }
  char* const data = static_cast<char*>(source.data) + offset;
  if (source.is_shared) {
    CopyInto(env, data, byte_length, tensor, bytes);
    return;
  }
  bytes->passed.fetch_add(byte_length, std::memory_order_relaxed);
  tensor->data = data;
  tensor->byte_length = byte_length;
  tensor->owner = source.owner;
}

Tensor ReadTarget(Napi::Value value, FeedMemory memory) {
  ByteCounts counts;
  Tensor target = ReadTensor(value.Env(), value, Purpose::kTarget, memory, &counts);
  if (counts.copied.load() > 0 || target.dtype == DType::kString) {
    ThrowInvalidArgument(value.Env(),
                         "a tensor from Tensor.alloc or a run as the place of an output: other "
                         "memory may vanish while the run writes to it");
  }
  return target;
}

std::shared_ptr<const EngineTensor> ReadEngineTensor(Napi::Value handle) {
  const auto& held = *handle.As<Napi::External<std::shared_ptr<const EngineTensor>>>().Data();
  if (held == nullptr) {
    throw ToError(handle.Env(), {StatusCode::kDisposed,
                                 "expected a live tensor, received one that was disposed"});
  }
  return held;
}

void ReleaseEngineTensor(Napi::Value handle) {
  handle.As<Napi::External<std::shared_ptr<const EngineTensor>>>().Data()->reset();
}

Napi::Value WriteValue(Napi::Env env, const Value& value, ByteCounts* bytes) {
  switch (value.kind) {
    case Value::Kind::kNone: return env.Null();
    case Value::Kind::kTensor: return WriteTensor(env, value.tensor, bytes);
    case Value::Kind::kEngineTensor:
      bytes->passed.fetch_add(value.engine_tensor->byte_length(), std::memory_order_relaxed);
      return WriteEngineTensor(env, value.engine_tensor);
    case Value::Kind::kSequence: {
      Napi::Array items = Napi::Array::New(env, value.items.size());
      for (uint32_t i = 0; i < value.items.size(); ++i) {
        Napi::HandleScope scope(env);
        items.Set(i, WriteValue(env, value.items[i], bytes));
      }
      Napi::Object object = Napi::Object::New(env);
      object.Set("sequence", items);
      return object;
    }
    case Value::Kind::kMap: {
      Napi::Object object = Napi::Object::New(env);
      object.Set("keys", WriteValue(env, value.items[0], bytes));
      object.Set("values", WriteValue(env, value.items[1], bytes));
      return object;
    }
  }
  return env.Undefined();
}

Napi::ArrayBuffer ExternalBuffer(Napi::Env env, void* data, size_t byte_length,
                                 std::shared_ptr<void> owner) {
  // Removed by the finalizer, which runs on this environment's thread: some turn after the buffer
  // was collected or detached, or when the environment ends.
  const MemoryRegistry::Number number = MemoryRegistry::Get().Add(data, byte_length, owner);
  napi_value buffer;
  const napi_status status = napi_create_external_arraybuffer(
      env, data, byte_length,
      [](napi_env, void* finalized_data, void* hint) {
        MemoryRegistry::Get().Remove(finalized_data,
                                     reinterpret_cast<MemoryRegistry::Number>(hint));
      },
      reinterpret_cast<void*>(number), &buffer);
  if (status == napi_ok) return {env, buffer};

  // Node finalizes what is too long for it, and leaves alone what it may not take.
  MemoryRegistry::Get().Remove(data, number);
  if (status != napi_no_external_buffers_allowed) {
    const Napi::Error error = Napi::Error::New(env);
    throw ToError(env, {StatusCode::kTooLarge,
                        "expected memory that JavaScript can hold, received " +
                            std::to_string(byte_length) + " bytes: " + error.Message()});
  }
  Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, byte_length);
  if (byte_length > 0) std::memcpy(copy.Data(), data, byte_length);
  return copy;
}

void ReleaseBuffer(Napi::ArrayBuffer buffer) {
  if (buffer.IsDetached()) return;
  void* const data = buffer.Data();
  const size_t byte_length = buffer.ByteLength();
  buffer.Detach();
  // Nobody reaches the memory any more, but the finalizer only comes when the event loop turns.
  if (MemoryRegistry::Get().Release(data)) AddonState::Of(buffer.Env()).TakeBack(byte_length);
}

}  // namespace tenon::addon
