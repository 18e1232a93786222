#include "addon/batch.h"

#include <cmath>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "addon/errors.h"
#include "addon/request.h"
#include "addon/values.h"

namespace tenon::addon {
namespace {

// The positions of the arguments.
enum { kSignature, kInputs, kMembers, kOutputs, kLayout };

Napi::Array AsArray(Napi::Value value, const char* what) {
  if (!value.IsArray()) ThrowInvalidArgument(value.Env(), std::string("an array of ") + what);
  return value.As<Napi::Array>();
}

int64_t AsSize(Napi::Value value, const char* what) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  // Above it not every integer is a double.
  constexpr double kMost = 9007199254740991;
  if (!(number >= 0 && number <= kMost) || std::trunc(number) != number) {
    ThrowInvalidArgument(value.Env(), std::string("a size for ") + what);
  }
  return static_cast<int64_t>(number);
}

// A row of indices, such as a mask or a trim.
template <size_t kCount>
void ReadRow(Napi::Value value, const char* what, size_t (&row)[kCount]) {
  const Napi::Array array = AsArray(value, what);
  for (uint32_t i = 0; i < kCount; ++i) row[i] = static_cast<size_t>(AsSize(array.Get(i), what));
}

BatchLayout ReadLayout(Napi::Value value) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) ThrowInvalidArgument(env, "an object for the layout of a batch");
  const Napi::Object object = value.As<Napi::Object>();
  BatchLayout layout;
  layout.rows = static_cast<size_t>(AsSize(object.Get("rows"), "the rows of a batch"));

  const Napi::Array shapes = AsArray(object.Get("shapes"), "shapes");
  for (uint32_t i = 0; i < shapes.Length(); ++i) {
    const Napi::HandleScope scope(env);
    const Napi::Array dimensions = AsArray(shapes.Get(i), "the dimensions of a shape");
    Shape shape(dimensions.Length());
    for (uint32_t d = 0; d < shape.size(); ++d) {
      shape[d] = AsSize(dimensions.Get(d), "a dimension of a batch");
    }
    layout.shapes.push_back(std::move(shape));
  }

  const Napi::Array pad_values = AsArray(object.Get("padValues"), "pad values");
  for (uint32_t i = 0; i < pad_values.Length(); ++i) {
    const Napi::Value pad_value = pad_values.Get(i);
    if (!pad_value.IsNumber()) ThrowInvalidArgument(env, "a number as a pad value");
    layout.pad_values.push_back(pad_value.As<Napi::Number>().DoubleValue());
  }

  const Napi::Array masks = AsArray(object.Get("masks"), "masks");
  for (uint32_t i = 0; i < masks.Length(); ++i) {
    const Napi::HandleScope scope(env);
    size_t row[4];
    ReadRow(masks.Get(i), "a mask", row);
    const auto dtype =
        row[1] < kDTypeCount ? DTypeFromNumber(static_cast<uint32_t>(row[1])) : std::nullopt;
    if (!dtype) ThrowInvalidArgument(env, "the number of a dtype for a mask");
    layout.masks.push_back({row[0], *dtype, row[2], row[3]});
  }

  const Napi::Array trims = AsArray(object.Get("trims"), "trims");
  for (uint32_t i = 0; i < trims.Length(); ++i) {
    const Napi::HandleScope scope(env);
    size_t row[4];
    ReadRow(trims.Get(i), "a trim", row);
    layout.trims.push_back({row[0], row[1], row[2], row[3]});
  }
  return layout;
}

void ReadMembers(Napi::Value value, BatchRequest* request, ByteCounts* bytes) {
  const Napi::Env env = value.Env();
  const Napi::Array members = AsArray(value, "members");
  const size_t inputs = request->inputs.size();
  request->member_count = members.Length();
  for (uint32_t member = 0; member < members.Length(); ++member) {
    const Napi::HandleScope scope(env);
    try {
      const Napi::Array feeds = AsArray(members.Get(member), "a tensor for each input");
      if (feeds.Length() != inputs) {
        ThrowInvalidArgument(env, "a tensor for each of " + std::to_string(inputs) +
                                      " inputs, received " + std::to_string(feeds.Length()));
      }
      for (uint32_t i = 0; i < inputs; ++i) {
        request->feeds.push_back(ReadMember(feeds.Get(i), bytes));
      }
    } catch (const Napi::Error& error) {
      const Napi::Object object = error.Value();
      const std::string message = object.Get("message").ToString();
      object.Set("message", message + " (member " + std::to_string(member) + " of the batch)");
      throw;
    }
  }
}

}  // namespace

std::unique_ptr<Gather> ReadBatch(const Napi::CallbackInfo& info, ModelHost& host, bool borrow) {
  const Napi::Env env = info.Env();
  try {
    BatchRequest request;
    request.signature = ReadSignature(info);
    request.inputs = ReadIndices(env, info[kInputs]);
    request.outputs = ReadIndices(env, info[kOutputs]);
    request.layout = ReadLayout(info[kLayout]);
    ByteCounts bytes;
    ReadMembers(info[kMembers], &request, &bytes);
    host.stats().feeds.copied.fetch_add(bytes.copied.load(), std::memory_order_relaxed);
    auto gather = Gather::Create(host.info(), std::move(request), host.buffers());
    ThrowIfError(env, gather.status());
    if (!borrow) ThrowIfError(env, (*gather)->CopyUnowned());
    return std::move(gather.value());
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  throw ToError(env, {StatusCode::kOutOfMemory, "expected memory to put a batch together"});
}

Napi::Value WriteBatch(Napi::Env env, size_t member_count, const std::vector<Value>& outputs,
                       ModelHost::Stats& stats) {
  const size_t count = outputs.size() / member_count;
  Napi::Array members = Napi::Array::New(env, member_count);
  for (uint32_t member = 0; member < member_count; ++member) {
    const Napi::HandleScope scope(env);
    Napi::Array values = Napi::Array::New(env, count);
    for (uint32_t i = 0; i < count; ++i) {
      values.Set(i, WriteValue(env, outputs[member * count + i], &stats.outputs));
    }
    members.Set(member, values);
  }
  return members;
}

Napi::Array WriteBatchSizes(Napi::Env env, const ModelHost::Stats& stats) {
  Napi::Array sizes = Napi::Array::New(env);
  uint32_t length = 0;
  for (uint32_t i = 0; i < stats.batch_sizes.size(); ++i) {
    if (stats.batch_sizes[i].load(std::memory_order_relaxed) > 0) length = i + 1;
  }
  for (uint32_t i = 0; i < length; ++i) {
    sizes.Set(i, static_cast<double>(stats.batch_sizes[i].load(std::memory_order_relaxed)));
  }
  return sizes;
}

}  // namespace tenon::addon
