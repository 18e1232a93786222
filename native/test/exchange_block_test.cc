#include "runtime/exchange_block.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "platform/aligned_memory.h"
#include "runtime/bound_calls.h"
#include "test/test.h"

namespace tenon {
namespace {

constexpr int32_t kFloat32 = static_cast<int32_t>(DType::kFloat32);

// A block between two stretches of memory that nothing may touch.
class Block {
 public:
  Block()
      : memory_(AllocateAligned(kGuard + ExchangeBlock::kByteLength + kGuard)),
        block_(start(), memory_) {
    std::memset(memory_.get(), kUntouched, kGuard + ExchangeBlock::kByteLength + kGuard);
    Write({});
  }

  ExchangeBlock& operator*() { return block_; }
  ExchangeBlock* operator->() { return &block_; }
  unsigned char* start() const { return static_cast<unsigned char*>(memory_.get()) + kGuard; }
  int32_t* words() const { return reinterpret_cast<int32_t*>(start()); }
  int32_t* result() const { return words() + ExchangeBlock::kResultAt / sizeof(int32_t); }
  float* floats(size_t offset) const { return reinterpret_cast<float*>(start() + offset); }

  // The words behind the length.
  void Write(const std::vector<int32_t>& words) {
    this->words()[0] = static_cast<int32_t>(words.size()) + 1;
    std::copy(words.begin(), words.end(), this->words() + 1);
  }
  bool GuardsAreUntouched() const {
    const auto untouched = [](unsigned char byte) { return byte == kUntouched; };
    const unsigned char* const end = start() + ExchangeBlock::kByteLength;
    return std::all_of(start() - kGuard, start(), untouched) &&
           std::all_of(end, end + kGuard, untouched);
  }

 private:
  static constexpr size_t kGuard = 4096;
  static constexpr unsigned char kUntouched = 0xa5;

  std::shared_ptr<void> memory_;
  ExchangeBlock block_;
};

// Session 3, signature 1; output 2; input 0 float32[2,1], input 4 float32[].
const std::vector<int32_t> kTwoInputs = {3, 1, 2, 1, 2, 0, kFloat32, 8, 2, 2, 1, 4, kFloat32, 4, 0};

std::string ReadCode(const std::vector<int32_t>& words) {
  Block block;
  block.Write(words);
  RunRequest request;
  return std::string(StatusCodeName(block->Read(&request).status().code()));
}

Value FloatsAt(const std::shared_ptr<void>& owner, Shape shape, size_t byte_length) {
  Tensor tensor;
  tensor.dtype = DType::kFloat32;
  tensor.shape = std::move(shape);
  tensor.data = owner.get();
  tensor.byte_length = byte_length;
  tensor.owner = owner;
  return Value::Of(std::move(tensor));
}

TEST("exchange: a request is read from its words, its feeds where they lie") {
  Block block;
  block.Write(kTwoInputs);
  RunRequest request;
  const auto feed_bytes = block->Read(&request);
  CHECK_OK(feed_bytes);
  CHECK_EQ(feed_bytes.value(), 12u);
  CHECK_EQ(block->session(), 3);
  CHECK_EQ(request.signature, 1u);
  CHECK((request.outputs == std::vector<size_t>{2}));
  CHECK((request.inputs == std::vector<size_t>{0, 4}));
  const Tensor& first = request.feeds[0].tensor;
  CHECK(first.dtype == DType::kFloat32 && first.shape == (Shape{2, 1}) && first.byte_length == 8);
  CHECK(first.data == block.start() + ExchangeBlock::kFeedsAt && first.owner == nullptr);
  const Tensor& second = request.feeds[1].tensor;
  CHECK(second.shape.empty() && second.byte_length == 4);
  CHECK(second.data == block.start() + ExchangeBlock::kFeedsAt + kTensorAlignment);
}

TEST("exchange: a request that is read again leaves nothing of the one before") {
  Block block;
  RunRequest request;
  block.Write(kTwoInputs);
  CHECK_OK(block->Read(&request));
  request.targets.resize(1);
  block.Write({0, 0, 1, 1, 0, 5, kFloat32, 4, 1, 1});
  CHECK_OK(block->Read(&request));
  CHECK(request.feeds.size() == 1 && request.feeds[0].tensor.shape == (Shape{1}));
  CHECK((request.inputs == std::vector<size_t>{5}) && request.targets.empty());
}

TEST("exchange: what is taken outlives the next request") {
  Block block;
  block.Write(kTwoInputs);
  float* const first = block.floats(ExchangeBlock::kFeedsAt);
  float* const second = block.floats(ExchangeBlock::kFeedsAt + kTensorAlignment);
  first[0] = 1;
  first[1] = 2;
  second[0] = 3;
  RunRequest request;
  CHECK_OK(block->Take(&request));
  first[0] = first[1] = second[0] = -1;
  const auto at = [&](size_t feed, size_t i) {
    return static_cast<const float*>(request.feeds[feed].tensor.data)[i];
  };
  CHECK(at(0, 0) == 1 && at(0, 1) == 2 && at(1, 0) == 3);
  CHECK(request.feeds[0].tensor.owner != nullptr && request.feeds[1].tensor.owner != nullptr);
}

TEST("exchange: a request without feeds is taken") {
  Block block;
  block.Write({0, 0, 0, 1, 0});
  RunRequest request;
  const auto feed_bytes = block->Take(&request);
  CHECK_OK(feed_bytes);
  CHECK(feed_bytes.value() == 0 && request.feeds.empty() && request.outputs.size() == 1);
}

TEST("exchange: words that make no request are refused") {
  constexpr int32_t kMany = std::numeric_limits<int32_t>::max();
  const std::vector<int32_t> requests[] = {
      {},                                                          // no header
      {0, 0, 0},                                                   // half of one
      {0, -1, 0, 0},                                               // no signature
      {0, 0, -1, 0},                                               // no number of inputs
      {0, 0, 0, -1},                                               // nor of outputs
      {0, 0, 0, 1},                                                // no output
      {0, 0, 0, kMany, 0},                                         // far too few
      {0, 0, 0, 1, -1},                                            // no index
      {0, 0, kMany, 0},                                            // no inputs
      {0, 0, 1, 0, 0, kFloat32, 4},                                // no rank
      {0, 0, 1, 0, 0, kFloat32, 4, 1},                             // no size
      {0, 0, 1, 0, 0, kFloat32, 4, kMany, 1},                      // far too few
      {0, 0, 1, 0, 0, kFloat32, 4, -1},                            // no rank at all
      {0, 0, 1, 0, -1, kFloat32, 4, 0},                            // no input
      {0, 0, 1, 0, 0, 0, 4, 0},                                    // no dtype
      {0, 0, 1, 0, 0, 1000, 4, 0},                                 // one nobody knows
      {0, 0, 1, 0, 0, -1, 4, 0},                                   // nor this
      {0, 0, 1, 0, 0, 14, 4, 0},                                   // strings
      {0, 0, 1, 0, 0, kFloat32, -4, 0},                            // fewer bytes than none
      {0, 0, 1, 0, 0, kFloat32, 16 * 1024 + 1, 1, 1},              // more than there are
      {0, 0, 2, 0, 0, kFloat32, 16 * 1024, 0, 1, kFloat32, 1, 0},  // together
      {0, 0, 2, 0, 0, kFloat32, 4, 0, 1},                          // half an input
      {0, 0, 1, 0, 0, kFloat32, 4, 0, 7},                          // a word too many
  };
  for (const auto& words : requests) CHECK_EQ(ReadCode(words), "ERR_TENON_INTERNAL");
}

TEST("exchange: a length that cannot be is refused") {
  for (const int32_t length :
       {std::numeric_limits<int32_t>::min(), -1, 0, 4, 1025, std::numeric_limits<int32_t>::max()}) {
    Block block;
    block.words()[0] = length;
    RunRequest request;
    CHECK(!block->Read(&request).ok());
    CHECK(block->key().empty());
  }
}

TEST("exchange: whatever the words are, nothing outside the block is touched") {
  std::mt19937 random(7);
  const int32_t numbers[] = {0, 1, 2, 3, 4, 5, 8, 14, 64, 1023, 1024, 16383, 16384, 16385, -1};
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    Block block;
    const size_t count = random() % 40;
    std::vector<int32_t> words;
    for (size_t i = 0; i < count; ++i) words.push_back(numbers[random() % std::size(numbers)]);
    block.Write(words);
    RunRequest request;
    if (!block->Take(&request).ok()) continue;
    ++read;
    for (const Value& feed : request.feeds) {
      std::memset(feed.tensor.data, 1, feed.tensor.byte_length);
    }
    CHECK(block.GuardsAreUntouched());
  }
  CHECK(read > 0);
}

TEST("exchange: a key is all but the session and the feeds' contents") {
  Block one;
  Block other;
  one.Write(kTwoInputs);
  std::vector<int32_t> words = kTwoInputs;
  words[0] = 8;
  other.Write(words);
  CHECK(std::ranges::equal(one->key(), other->key()));
  words[9] = 1;
  words[10] = 2;
  other.Write(words);
  CHECK(!std::ranges::equal(one->key(), other->key()));
}

TEST("exchange: outputs are written with what they are") {
  Block block;
  const std::shared_ptr<void> memory = AllocateAligned(12);
  const float values[] = {1, 2, 3};
  std::memcpy(memory.get(), values, sizeof values);
  const auto bytes = block->Write(
      {FloatsAt(memory, {3, 1}, 12), FloatsAt(memory, {}, 4), FloatsAt(memory, {0, 7}, 0)});
  CHECK(bytes == 16u);
  constexpr int32_t kAt = static_cast<int32_t>(ExchangeBlock::kOutputsAt);
  const std::vector<int32_t> expected = {3, kFloat32, kAt,       12, 2, 3, 1, kFloat32, kAt + 64, 4,
                                         0, kFloat32, kAt + 128, 0,  2, 0, 7};
  CHECK(std::equal(expected.begin(), expected.end(), block.result()));
  CHECK(std::memcmp(block.floats(ExchangeBlock::kOutputsAt), values, sizeof values) == 0);
  CHECK_EQ(block.floats(ExchangeBlock::kOutputsAt)[16], 1.0f);
}

TEST("exchange: outputs that do not fit leave the block as it was") {
  const std::shared_ptr<void> memory = AllocateAligned(ExchangeBlock::kOutputBytes + 4, true);
  const auto of = [&](size_t byte_length) {
    return FloatsAt(memory, {static_cast<int64_t>(byte_length / 4)}, byte_length);
  };
  Value strings = Value::Of({});
  strings.tensor.dtype = DType::kString;
  Value sequence;
  sequence.kind = Value::Kind::kSequence;
  const std::vector<std::vector<Value>> outputs = {
      {of(ExchangeBlock::kOutputBytes + 4)},
      {of(4), of(ExchangeBlock::kOutputBytes - 60)},
      {of(4), strings},
      {sequence},
      {Value()},
      std::vector<Value>(300, of(0)),                // more words than there are
      {FloatsAt(memory, {0, int64_t{1} << 31}, 0)},  // a size that is no word
  };
  for (const auto& some : outputs) {
    Block block;
    block.result()[0] = 77;
    CHECK(!block->Write(some));
    CHECK_EQ(block.result()[0], 77);
    CHECK(block.GuardsAreUntouched());
  }
  Block block;
  CHECK(block->Write({of(ExchangeBlock::kOutputBytes)}) == ExchangeBlock::kOutputBytes);
  CHECK(block->Write({of(4), of(ExchangeBlock::kOutputBytes - 64)}).has_value());
  CHECK(block.GuardsAreUntouched());
}

TEST("exchange: a settled request has all its memory in the block") {
  Block block;
  block.Write({0, 0, 1, 2, 0, 1, 0, kFloat32, 4, 0});
  RunRequest request;
  CHECK_OK(block->Read(&request));
  Signature signature;
  signature.outputs.resize(2);
  for (ValueSpec& output : signature.outputs) output.dtype = DType::kFloat32;
  const auto outputs = block->Settle(signature, {{2}, {}}, &request);
  REQUIRE(outputs.has_value());
  CHECK(request.feeds[0].tensor.owner != nullptr);
  CHECK(request.targets.size() == 2 && outputs->size() == 2);
  CHECK(request.targets[0].into.data == block.start() + ExchangeBlock::kOutputsAt);
  CHECK(request.targets[1].into.data == block.start() + ExchangeBlock::kOutputsAt + 64);
  // Written by whoever ran it.
  block.floats(ExchangeBlock::kOutputsAt)[1] = 5;
  CHECK(block->Write(*outputs) == 12u);
  CHECK_EQ(block.floats(ExchangeBlock::kOutputsAt)[1], 5.0f);

  const auto too_large = static_cast<int64_t>(ExchangeBlock::kOutputBytes / 4 + 1);
  CHECK(!block->Settle(signature, {{too_large}, {}}, &request));
  CHECK(!block->Settle(signature, {{2}, {0, int64_t{1} << 31}}, &request));
}

// --- Calls that come again ---

const std::vector<int32_t> kKeys[] = {{1}, {2}, {3, 4}, {3, 5}, {3}, {}};

TEST("bound calls: are found by all of their key") {
  BoundCalls calls;
  CHECK(calls.Find(kKeys[0]) == nullptr);
  BoundCalls::Call* const first = calls.Add(kKeys[2]);
  CHECK(calls.Find(kKeys[2]) == first);
  for (const size_t other : {3, 4, 5}) CHECK(calls.Find(kKeys[other]) == nullptr);
}

TEST("bound calls: a call comes again when it was the last to be asked for") {
  BoundCalls calls;
  CHECK(!calls.ComesAgain(kKeys[0]));
  CHECK(calls.ComesAgain(kKeys[0]));
  CHECK(!calls.ComesAgain(kKeys[1]));
  CHECK(!calls.ComesAgain(kKeys[0]));
}

TEST("bound calls: the oldest makes room for the next") {
  BoundCalls calls;
  for (size_t i = 0; i < 4; ++i) calls.Add(kKeys[i])->feed_bytes = 7;
  CHECK(calls.Find(kKeys[0]) != nullptr);
  CHECK_EQ(calls.Add(kKeys[4])->feed_bytes, 0u);
  CHECK(calls.Find(kKeys[0]) == nullptr);
  for (size_t i = 1; i <= 4; ++i) CHECK(calls.Find(kKeys[i]) != nullptr);
}

TEST("bound calls: nothing is left after a clear") {
  class Noted : public BoundRun {
   public:
    explicit Noted(bool* gone) : gone_(gone) {}
    ~Noted() override { *gone_ = true; }
    Status Run(CancelToken*) override { return {}; }

   private:
    bool* gone_;
  };
  BoundCalls calls;
  bool gone = false;
  calls.Add(kKeys[0])->run = std::make_unique<Noted>(&gone);
  calls.Clear();
  CHECK(gone);
  CHECK(calls.Find(kKeys[0]) == nullptr);
}

}  // namespace
}  // namespace tenon
