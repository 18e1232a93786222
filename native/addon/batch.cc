#include "addon/batch.h"

#include <cmath>
#include <cstdint>
#include <new>
#include <span>
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

// Above it not every integer is a double.
constexpr double kMostExact = 9007199254740991;

int64_t AsSize(Napi::Value value, const char* what) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= kMostExact) || std::trunc(number) != number) {
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

// The numbers that describe members, one after the other. Nothing in them is believed.
class Numbers {
 public:
  Numbers(Napi::Env env, std::span<const double> numbers) : env_(env), numbers_(numbers) {}

  size_t left() const { return numbers_.size(); }

  // One that counts something, or is an index.
  size_t Next() {
    const double number = numbers_.empty() ? -1 : numbers_.front();
    if (!(number >= 0 && number <= kMostExact) || std::trunc(number) != number) {
      ThrowInvalidArgument(env_, "sizes in the numbers of a member");
    }
    numbers_ = numbers_.subspan(1);
    return static_cast<size_t>(number);
  }

 private:
  const Napi::Env env_;
  std::span<const double> numbers_;
};

std::span<const double> ReadNumbers(Napi::Value value) {
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    ThrowInvalidArgument(value.Env(), "a Float64Array for the numbers of members");
  }
  const auto numbers = value.As<Napi::Float64Array>();
  return {numbers.Data(), numbers.ElementLength()};
}

Tensor ReadMemberFeed(Napi::Env env, const std::vector<FeedSource>& sources, Numbers* numbers,
                      ByteCounts* bytes) {
  const size_t dtype_number = numbers->Next();
  const auto dtype = dtype_number < kDTypeCount
                         ? DTypeFromNumber(static_cast<uint32_t>(dtype_number))
                         : std::nullopt;
  if (!dtype) {
    ThrowInvalidArgument(env, "the number of a dtype, received " + std::to_string(dtype_number));
  }
  const size_t source = numbers->Next();
  if (source >= sources.size()) ThrowInvalidArgument(env, "the index of a source");
  const size_t offset = numbers->Next();
  const size_t byte_length = numbers->Next();
  const size_t rank = numbers->Next();
  if (rank > numbers->left()) ThrowInvalidArgument(env, "all sizes of a member");
  Tensor tensor;
  tensor.dtype = *dtype;
  tensor.shape.resize(rank);
  for (int64_t& size : tensor.shape) size = static_cast<int64_t>(numbers->Next());
  ReadFeed(env, sources[source], offset, byte_length, &tensor, bytes);
  return tensor;
}

void ReadMembers(Napi::Value value, BatchRequest* request, ByteCounts* bytes) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) ThrowInvalidArgument(env, "an object for the members of a batch");
  const Napi::Object object = value.As<Napi::Object>();
  const size_t inputs = request->inputs.size();
  request->member_count = static_cast<size_t>(AsSize(object.Get("count"), "members"));
  const std::span<const double> written = ReadNumbers(object.Get("numbers"));
  const auto length = static_cast<size_t>(AsSize(object.Get("length"), "numbers"));
  if (length > written.size()) ThrowInvalidArgument(env, "as many numbers as there are");
  Numbers numbers(env, written.first(length));
  const Napi::Array places = AsArray(object.Get("sources"), "sources");
  std::vector<FeedSource> sources(places.Length());
  for (uint32_t i = 0; i < sources.size(); ++i) sources[i] = ReadFeedSource(places.Get(i));
  if (inputs == 0) return;
  if (request->member_count > numbers.left() / inputs) {
    ThrowInvalidArgument(env, "numbers for each member of the batch");
  }
  request->feeds.reserve(request->member_count * inputs);
  for (size_t member = 0; member < request->member_count; ++member) {
    try {
      for (size_t i = 0; i < inputs; ++i) {
        request->feeds.push_back(ReadMemberFeed(env, sources, &numbers, bytes));
      }
    } catch (const Napi::Error& error) {
      const Napi::Object thrown = error.Value();
      const std::string message = thrown.Get("message").ToString();
      thrown.Set("message", message + " (member " + std::to_string(member) + " of the batch)");
      throw;
    }
  }
  if (numbers.left() > 0) ThrowInvalidArgument(env, "no more numbers than the members have");
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

Napi::Value WriteBatch(Napi::Env env, const std::vector<ScatteredOutput>& outputs,
                       ModelHost::Stats& stats) {
  Napi::Array result = Napi::Array::New(env, outputs.size());
  for (uint32_t i = 0; i < outputs.size(); ++i) {
    const auto& [is_whole, parts] = outputs[i];
    Napi::Object output = Napi::Object::New(env);
    if (is_whole) {
      // Each member gets a copy, however the whole of them goes there.
      ByteCounts counts;
      output.Set("whole", WriteValue(env, parts.front(), &counts));
      stats.outputs.copied.fetch_add(parts.front().tensor.byte_length, std::memory_order_relaxed);
    } else {
      Napi::Array values = Napi::Array::New(env, parts.size());
      for (uint32_t member = 0; member < parts.size(); ++member) {
        const Napi::HandleScope scope(env);
        values.Set(member, WriteValue(env, parts[member], &stats.outputs));
      }
      output.Set("members", values);
    }
    result.Set(i, output);
  }
  return result;
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
