#include "runtime/exchange_block.h"

#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "platform/aligned_memory.h"

namespace tenon {
namespace {

// The beginning of the next tensor after one that ends at `offset` of its part,
// never past the part's end.
constexpr size_t Aligned(size_t offset) {
  return (offset + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}
static_assert(ExchangeBlock::kFeedBytes % kTensorAlignment == 0 &&
              ExchangeBlock::kOutputBytes % kTensorAlignment == 0);

Status Malformed(const char* what) {
  return {StatusCode::kInternal, std::string("expected ") + what + " in the request's words"};
}

}  // namespace

Result<uint64_t> ExchangeBlock::Read(RunRequest* request) const {
  const std::span<const int32_t> key = this->key();
  if (key.empty()) return Malformed("a length that fits");
  const int32_t* next = words() + kHeaderWords;
  const int32_t* const end = key.data() + key.size();
  const auto left = [&] { return static_cast<size_t>(end - next); };

  const int32_t inputs = words()[kInputs];
  const int32_t outputs = words()[kOutputs];
  if (words()[kSignature] < 0 || inputs < 0 || outputs < 0) return Malformed("counts");
  if (left() < static_cast<size_t>(outputs)) return Malformed("as many outputs as there are");
  request->signature = static_cast<size_t>(words()[kSignature]);
  request->outputs.resize(static_cast<size_t>(outputs));
  for (size_t& output : request->outputs) {
    if (*next < 0) return Malformed("indices");
    output = static_cast<size_t>(*next++);
  }
  if (left() / kInputWords < static_cast<size_t>(inputs)) return Malformed("as many inputs");
  request->inputs.resize(static_cast<size_t>(inputs));
  request->feeds.resize(static_cast<size_t>(inputs));
  request->targets.clear();
  size_t offset = 0;
  uint64_t total = 0;
  for (size_t i = 0; i < request->inputs.size(); ++i) {
    if (left() < kInputWords) return Malformed("all of an input");
    const int32_t index = *next++;
    const auto dtype = DTypeFromNumber(static_cast<uint32_t>(*next++));
    const int32_t byte_length = *next++;
    const int32_t rank = *next++;
    if (index < 0 || byte_length < 0 || rank < 0) return Malformed("numbers that are not negative");
    if (!dtype || *dtype == DType::kString) return Malformed("a dtype of fixed size");
    if (left() < static_cast<size_t>(rank)) return Malformed("all sizes of an input");
    if (static_cast<size_t>(byte_length) > kFeedBytes - offset) {
      return Malformed("feeds that fit");
    }
    request->inputs[i] = static_cast<size_t>(index);
    Value& feed = request->feeds[i];
    feed.kind = Value::Kind::kTensor;
    feed.tensor.dtype = *dtype;
    feed.tensor.shape.assign(next, next + rank);
    feed.tensor.data = memory_ + kFeedsAt + offset;
    feed.tensor.byte_length = static_cast<size_t>(byte_length);
    feed.tensor.owner = nullptr;
    next += rank;
    total += static_cast<uint64_t>(byte_length);
    offset = Aligned(offset + static_cast<size_t>(byte_length));
  }
  if (left() != 0) return Malformed("nothing but inputs and outputs");
  return total;
}

Result<uint64_t> ExchangeBlock::Take(RunRequest* request) const {
  auto total = Read(request);
  if (!total.ok() || request->feeds.empty()) return total;
  const Tensor& last = request->feeds.back().tensor;
  const unsigned char* const from = memory_ + kFeedsAt;
  const size_t byte_length =
      static_cast<size_t>(static_cast<unsigned char*>(last.data) - from) + last.byte_length;
  std::shared_ptr<void> memory = AllocateAligned(byte_length);
  if (memory == nullptr) {
    return Status(StatusCode::kOutOfMemory,
                  "expected memory for feeds of " + std::to_string(byte_length) + " bytes");
  }
  std::memcpy(memory.get(), from, byte_length);
  for (Value& feed : request->feeds) {
    feed.tensor.data = static_cast<unsigned char*>(memory.get()) +
                       (static_cast<unsigned char*>(feed.tensor.data) - from);
    feed.tensor.owner = memory;
  }
  return total;
}

bool ExchangeBlock::Fits(const std::vector<Value>& outputs) {
  size_t count = 1;
  size_t offset = 0;
  for (const Value& output : outputs) {
    const Tensor& tensor = output.tensor;
    if (output.kind != Value::Kind::kTensor || tensor.dtype == DType::kString) return false;
    if (tensor.byte_length > kOutputBytes - offset) return false;
    offset = Aligned(offset + tensor.byte_length);
    count += kOutputWords + tensor.shape.size();
    if (count > kResultWords) return false;
    for (const int64_t size : tensor.shape) {
      if (size > std::numeric_limits<int32_t>::max()) return false;
    }
  }
  return true;
}

std::optional<uint64_t> ExchangeBlock::Write(const std::vector<Value>& outputs) {
  if (!Fits(outputs)) return std::nullopt;
  int32_t* next = reinterpret_cast<int32_t*>(memory_ + kResultAt);
  *next++ = static_cast<int32_t>(outputs.size());
  size_t offset = 0;
  uint64_t total = 0;
  for (const Value& output : outputs) {
    const Tensor& tensor = output.tensor;
    unsigned char* const place = memory_ + kOutputsAt + offset;
    // Those of a settled request are in place.
    if (tensor.byte_length > 0 && tensor.data != place) {
      std::memcpy(place, tensor.data, tensor.byte_length);
    }
    *next++ = static_cast<int32_t>(tensor.dtype);
    *next++ = static_cast<int32_t>(kOutputsAt + offset);
    *next++ = static_cast<int32_t>(tensor.byte_length);
    *next++ = static_cast<int32_t>(tensor.shape.size());
    for (const int64_t size : tensor.shape) *next++ = static_cast<int32_t>(size);
    total += tensor.byte_length;
    offset = Aligned(offset + tensor.byte_length);
  }
  return total;
}

std::optional<std::vector<Value>> ExchangeBlock::Settle(const Signature& signature,
                                                        const std::vector<Shape>& shapes,
                                                        RunRequest* request) const {
  for (Value& feed : request->feeds) feed.tensor.owner = owner_;
  request->targets.clear();
  std::vector<Value> outputs;
  size_t offset = 0;
  for (size_t i = 0; i < request->outputs.size(); ++i) {
    Tensor tensor;
    tensor.dtype = signature.outputs[request->outputs[i]].dtype;
    tensor.shape = shapes[i];
    const auto count = ElementCount(tensor.shape);
    const auto byte_length = count ? DTypeByteLength(tensor.dtype, *count) : std::nullopt;
    if (!byte_length || *byte_length > kOutputBytes - offset) return std::nullopt;
    tensor.data = memory_ + kOutputsAt + offset;
    tensor.byte_length = *byte_length;
    tensor.owner = owner_;
    offset = Aligned(offset + *byte_length);
    request->targets.push_back({OutputTarget::Kind::kInto, tensor});
    outputs.push_back(Value::Of(std::move(tensor)));
  }
  if (!Fits(outputs)) return std::nullopt;
  return outputs;
}

}  // namespace tenon
