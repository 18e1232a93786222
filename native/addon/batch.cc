#include "addon/batch.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "addon/errors.h"
#include "addon/values.h"

namespace tenon::addon {
namespace {

// The positions of the arguments.
enum { kNumbers, kLength, kSources };

// Above it not every integer is a double.
constexpr double kMostExact = 9007199254740991;

// The numbers that describe a batch, one after the other. Nothing in them is believed.
class Numbers {
 public:
  Numbers(Napi::Env env, std::span<const double> numbers) : env_(env), numbers_(numbers) {}

  size_t left() const { return numbers_.size(); }

  double Next() {
    if (numbers_.empty()) ThrowInvalidArgument(env_, "more numbers for a batch");
    const double number = numbers_.front();
    numbers_ = numbers_.subspan(1);
    return number;
  }

  // One that counts something, or is an index or a size.
  size_t NextSize() {
    const double number = Next();
    if (!(number >= 0 && number <= kMostExact) || std::trunc(number) != number) {
      ThrowInvalidArgument(env_, "sizes among the numbers of a batch");
    }
    return static_cast<size_t>(number);
  }

  // How many of something follow, of which each takes `numbers_each`.
  size_t NextCount(size_t numbers_each) {
    const size_t count = NextSize();
    if (count > left() / numbers_each) ThrowInvalidArgument(env_, "more numbers for a batch");
    return count;
  }

  std::vector<size_t> NextSizes(size_t count) {
    std::vector<size_t> sizes(count);
    for (size_t& size : sizes) size = NextSize();
    return sizes;
  }

  Shape NextShape() {
    Shape shape(NextCount(1));
    for (int64_t& size : shape) size = static_cast<int64_t>(NextSize());
    return shape;
  }

  DType NextDType() {
    const size_t number = NextSize();
    const auto dtype =
        number < kDTypeCount ? DTypeFromNumber(static_cast<uint32_t>(number)) : std::nullopt;
    if (!dtype) {
      ThrowInvalidArgument(env_, "the number of a dtype, received " + std::to_string(number));
    }
    return *dtype;
  }

 private:
  const Napi::Env env_;
  std::span<const double> numbers_;
};

Numbers ReadNumbers(const Napi::CallbackInfo& info) {
  const Napi::Value value = info[kNumbers];
  double* data = nullptr;
  size_t count = 0;
  napi_typedarray_type type = napi_int8_array;
  if (napi_get_typedarray_info(info.Env(), value, &type, &count, reinterpret_cast<void**>(&data),
                               nullptr, nullptr) != napi_ok ||
      type != napi_float64_array) {
    ThrowInvalidArgument(info.Env(), "a Float64Array for the numbers of a batch");
  }
  uint32_t length = 0;
  if (napi_get_value_uint32(info.Env(), info[kLength], &length) != napi_ok || length > count) {
    ThrowInvalidArgument(info.Env(), "as many numbers for a batch as there are");
  }
  return {info.Env(), {data, length}};
}

std::vector<FeedSource> ReadSources(Napi::Value value) {
  if (!value.IsArray()) ThrowInvalidArgument(value.Env(), "an array of sources");
  const Napi::Array places = value.As<Napi::Array>();
  std::vector<FeedSource> sources(places.Length());
  for (uint32_t i = 0; i < sources.size(); ++i) sources[i] = ReadFeedSource(places.Get(i));
  return sources;
}

void ReadLayout(Numbers* numbers, size_t inputs, BatchLayout* layout) {
  for (size_t i = 0; i < inputs; ++i) {
    const double pad_value = numbers->Next();
    layout->pad_values.push_back(std::isnan(pad_value) ? std::nullopt
                                                       : std::optional<double>(pad_value));
    layout->shapes.push_back(numbers->NextShape());
  }
  for (size_t left = numbers->NextCount(4); left > 0; --left) {
    BatchLayout::Mask& mask = layout->masks.emplace_back();
    mask.input = numbers->NextSize();
    mask.dtype = numbers->NextDType();
    mask.of = numbers->NextSize();
    mask.dim = numbers->NextSize();
  }
  for (size_t left = numbers->NextCount(4); left > 0; --left) {
    BatchLayout::Trim& trim = layout->trims.emplace_back();
    trim.output = numbers->NextSize();
    trim.dim = numbers->NextSize();
    trim.of = numbers->NextSize();
    trim.input_dim = numbers->NextSize();
  }
}

Tensor ReadMemberFeed(Napi::Env env, const std::vector<FeedSource>& sources, Numbers* numbers,
                      ByteCounts* bytes) {
  Tensor tensor;
  tensor.dtype = numbers->NextDType();
  const size_t source = numbers->NextSize();
  if (source >= sources.size()) ThrowInvalidArgument(env, "the index of a source");
  const size_t offset = numbers->NextSize();
  const size_t byte_length = numbers->NextSize();
  tensor.shape = numbers->NextShape();
  ReadFeed(env, sources[source], offset, byte_length, &tensor, bytes);
  return tensor;
}

void ReadMembers(Napi::Env env, const std::vector<FeedSource>& sources, Numbers* numbers,
                 BatchRequest* request, ByteCounts* bytes) {
  const size_t inputs = request->inputs.size();
  request->member_count = numbers->NextCount(1);
  request->feeds.reserve(std::min(request->member_count * inputs, numbers->left()));
  for (size_t member = 0; member < request->member_count; ++member) {
    try {
      for (size_t i = 0; i < inputs; ++i) {
        request->feeds.push_back(ReadMemberFeed(env, sources, numbers, bytes));
      }
    } catch (const Napi::Error& error) {
      const Napi::Object thrown = error.Value();
      const std::string message = thrown.Get("message").ToString();
      thrown.Set("message", message + " (member " + std::to_string(member) + " of the batch)");
      throw;
    }
  }
  if (numbers->left() > 0) ThrowInvalidArgument(env, "no more numbers than a batch has");
}

}  // namespace

std::unique_ptr<Gather> ReadBatch(const Napi::CallbackInfo& info, ModelHost& host, bool borrow) {
  const Napi::Env env = info.Env();
  try {
    Numbers numbers = ReadNumbers(info);
    BatchRequest request;
    request.signature = numbers.NextSize();
    request.layout.rows = numbers.NextSize();
    request.outputs = numbers.NextSizes(numbers.NextCount(1));
    request.inputs = numbers.NextSizes(numbers.NextCount(1));
    ReadLayout(&numbers, request.inputs.size(), &request.layout);
    ByteCounts bytes;
    ReadMembers(env, ReadSources(info[kSources]), &numbers, &request, &bytes);
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
    Napi::Array output = Napi::Array::New(env, 2);
    output.Set(uint32_t{0}, is_whole);
    if (is_whole) {
      // Each member gets a copy, however the whole of them goes there.
      ByteCounts counts;
      output.Set(1, WriteValue(env, parts.front(), &counts));
      stats.outputs.copied.fetch_add(parts.front().tensor.byte_length, std::memory_order_relaxed);
    } else {
      Napi::Array values = Napi::Array::New(env, parts.size());
      for (uint32_t member = 0; member < parts.size(); ++member) {
        const Napi::HandleScope scope(env);
        values.Set(member, WriteValue(env, parts[member], &stats.outputs));
      }
      output.Set(1, values);
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
