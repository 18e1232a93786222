#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "platform/aligned_memory.h"
#include "runtime/block_copy.h"
#include "runtime/buffer_pool.h"
#include "runtime/gather.h"
#include "runtime/model_host.h"
#include "runtime/scatter.h"
#include "test/test.h"

namespace tenon {
namespace {

template <typename T>
Tensor TensorOf(DType dtype, Shape shape, const std::vector<T>& elements, bool owned = true) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.byte_length = elements.size() * sizeof(T);
  auto memory = std::make_shared<std::vector<T>>(elements);
  tensor.data = memory->data();
  if (owned) {
    tensor.owner = memory;
  } else {
    // Lives on in a corner of its own: the test stands for the caller.
    static std::vector<std::shared_ptr<void>>& callers = *new std::vector<std::shared_ptr<void>>();
    callers.push_back(memory);
  }
  tensor.exclusive = true;
  return tensor;
}

Tensor Floats(Shape shape, const std::vector<float>& elements, bool owned = true) {
  return TensorOf(DType::kFloat32, std::move(shape), elements, owned);
}

Tensor Strings(Shape shape, const std::vector<std::string>& elements) {
  auto table = std::make_shared<StringTable>();
  for (const std::string& element : elements) table->Append(element);
  Tensor tensor;
  tensor.dtype = DType::kString;
  tensor.shape = std::move(shape);
  tensor.strings = std::move(table);
  return tensor;
}

template <typename T = float>
std::vector<T> ElementsOf(const Tensor& tensor) {
  const T* const data = static_cast<const T*>(tensor.data);
  return {data, data + tensor.byte_length / sizeof(T)};
}

std::vector<std::string> StringsOf(const Tensor& tensor) {
  std::vector<std::string> strings;
  for (size_t i = 0; i < tensor.strings->size(); ++i) strings.emplace_back((*tensor.strings)[i]);
  return strings;
}

ModelInfo InfoOf(const std::vector<DType>& inputs, size_t outputs = 1) {
  ModelInfo info;
  info.signatures.resize(1);
  for (const DType dtype : inputs) {
    ValueSpec spec;
    spec.name = "in" + std::to_string(info.signatures[0].inputs.size());
    spec.dtype = dtype;
    info.signatures[0].inputs.push_back(std::move(spec));
  }
  for (size_t i = 0; i < outputs; ++i) {
    ValueSpec spec;
    spec.name = "out" + std::to_string(i);
    info.signatures[0].outputs.push_back(std::move(spec));
  }
  return info;
}

// One input, fed with `members`.
BatchRequest RequestOf(std::vector<Tensor> members, Shape batch,
                       std::optional<double> pad_value = 0) {
  BatchRequest request;
  request.inputs = {0};
  request.member_count = members.size();
  request.feeds = std::move(members);
  request.outputs = {0};
  request.layout.rows = static_cast<size_t>(batch[0]);
  request.layout.shapes = {std::move(batch)};
  request.layout.pad_values = {pad_value};
  return request;
}

struct Gathered {
  std::unique_ptr<Gather> gather;
  RunRequest run;
};

Gathered GatherAll(const ModelInfo& info, BatchRequest request) {
  Gathered gathered;
  auto gather = Gather::Create(info, std::move(request), BufferPool::Create());
  CHECK_OK(gather);
  gathered.gather = std::move(gather.value());
  CHECK_OK(gathered.gather->CopyUnowned());
  CHECK_OK(gathered.gather->Finish(nullptr, &gathered.run));
  return gathered;
}

Status StatusOf(const ModelInfo& info, BatchRequest request) {
  return Gather::Create(info, std::move(request), BufferPool::Create()).status();
}

bool Names(const Status& status, StatusCode code, const std::string& words) {
  const bool named = status.code() == code && status.message().find(words) != std::string::npos;
  if (!named) test::Fail(__FILE__, __LINE__, "received " + status.message());
  return named;
}

constexpr size_t kSmall = 64;

Result<std::vector<ScatteredOutput>> Cut(const ModelInfo& info, const Gather& gather,
                                         std::vector<Tensor> outputs) {
  std::vector<Value> values;
  for (Tensor& output : outputs) values.push_back(Value::Of(std::move(output)));
  uint64_t copied = 0;
  return Scatter(info, gather, values, kSmall, &copied);
}

// A member's rows of an output, whether it was cut or stayed whole.
Tensor MemberOf(const ScatteredOutput& output, const Gather& gather, size_t member) {
  if (!output.is_whole) return output.parts[member].tensor;
  Tensor part = output.parts[0].tensor;
  const size_t row_bytes = gather.member_rows() == 0 ? 0 : part.byte_length / gather.member_rows();
  const size_t rows = gather.first_row(member + 1) - gather.first_row(member);
  part.data = static_cast<char*>(part.data) + gather.first_row(member) * row_bytes;
  part.byte_length = rows * row_bytes;
  part.shape[0] = static_cast<int64_t>(rows);
  return part;
}

// A session whose outputs are what the test makes of the feeds.
class FakeSession : public Session {
 public:
  using Body = std::function<Result<std::vector<Value>>(const RunRequest&)>;
  FakeSession(ModelInfo info, Body body) : info_(std::move(info)), body_(std::move(body)) {}
  const ModelInfo& info() const override { return info_; }
  Result<std::vector<Value>> Run(const RunRequest& request) override {
    TENON_RETURN_IF_ERROR(CheckRequest(info_, request));
    return body_(request);
  }
  Result<std::unique_ptr<BoundRun>> Bind(const RunRequest&) override {
    return Status(StatusCode::kUnsupported, "nothing to bind");
  }

 private:
  ModelInfo info_;
  Body body_;
};

Result<std::vector<Value>> CopyFeeds(const RunRequest& request) {
  std::vector<Value> outputs;
  for (const Value& feed : request.feeds) {
    Tensor copy = feed.tensor;
    if (copy.dtype != DType::kString) {
      copy.owner = AllocateAligned(copy.byte_length);
      copy.data = copy.owner.get();
      std::memcpy(copy.data, feed.tensor.data, copy.byte_length);
      copy.exclusive = true;
    }
    outputs.push_back(Value::Of(std::move(copy)));
  }
  return outputs;
}

}  // namespace

TEST("gather: members' rows follow each other, the last one fills the batch up") {
  const auto batch =
      GatherAll(InfoOf({DType::kFloat32}),
                RequestOf({Floats({1, 2}, {1, 2}), Floats({2, 2}, {3, 4, 5, 6}, false)}, {5, 2}));
  const Tensor& tensor = batch.run.feeds[0].tensor;
  CHECK((tensor.shape == Shape{5, 2}));
  CHECK((ElementsOf(tensor) == std::vector<float>{1, 2, 3, 4, 5, 6, 5, 6, 5, 6}));
  CHECK_EQ(reinterpret_cast<uintptr_t>(tensor.data) % kTensorAlignment, uintptr_t{0});
  CHECK_EQ(batch.gather->copied_bytes(), uint64_t{24});
}

TEST("gather: what has no owner is copied on the call, the rest later") {
  std::vector<float> callers = {1, 2};
  Tensor borrowed = Floats({1, 2}, {});
  borrowed.owner = nullptr;
  borrowed.data = callers.data();
  borrowed.byte_length = 8;
  auto gather =
      Gather::Create(InfoOf({DType::kFloat32}),
                     RequestOf({borrowed, Floats({1, 2}, {3, 4})}, {2, 2}), BufferPool::Create());
  CHECK_OK(gather);
  CHECK_OK((*gather)->CopyUnowned());
  callers = {-1, -1};
  RunRequest run;
  CHECK_OK((*gather)->Finish(nullptr, &run));
  CHECK((ElementsOf(run.feeds[0].tensor) == std::vector<float>{1, 2, 3, 4}));
}

TEST("gather: nothing without an owner is touched once the batch is cancelled") {
  Tensor vanished = Floats({1, 2}, {});
  vanished.owner = nullptr;
  vanished.data = reinterpret_cast<void*>(uintptr_t{64});  // would crash
  vanished.byte_length = 8;
  auto gather = Gather::Create(InfoOf({DType::kFloat32}), RequestOf({vanished}, {1, 2}),
                               BufferPool::Create());
  CHECK_OK(gather);
  CancelToken cancel;
  cancel.Cancel();
  RunRequest run;
  CHECK((*gather)->Finish(&cancel, &run).code() == StatusCode::kAborted);
}

TEST("gather: the only member's own memory goes as it is, indices excepted") {
  const Tensor whole = Floats({2, 2}, {1, 2, 3, 4});
  void* const data = whole.data;
  CHECK(GatherAll(InfoOf({DType::kFloat32}), RequestOf({whole}, {2, 2})).run.feeds[0].tensor.data ==
        data);
  const Tensor indices = TensorOf<int64_t>(DType::kInt64, {2}, {1, 2});
  CHECK(GatherAll(InfoOf({DType::kInt64}), RequestOf({indices}, {2})).run.feeds[0].tensor.data !=
        indices.data);
  CHECK(GatherAll(InfoOf({DType::kFloat32}), RequestOf({whole}, {3, 2})).run.feeds[0].tensor.data !=
        data);
}

TEST("gather: members' memory goes as it is where it lies together and is the whole batch") {
  const std::shared_ptr<void> memory = AllocateAligned(4 * 16 * sizeof(float));
  const auto at = [&](size_t row, size_t rows) {
    Tensor tensor;
    tensor.dtype = DType::kFloat32;
    tensor.shape = {static_cast<int64_t>(rows), 16};
    tensor.byte_length = rows * 16 * sizeof(float);
    tensor.data = static_cast<float*>(memory.get()) + row * 16;
    tensor.owner = memory;
    return tensor;
  };
  std::memset(memory.get(), 0, 4 * 16 * sizeof(float));
  const auto place = [&](std::vector<Tensor> members, Shape shape) {
    return GatherAll(InfoOf({DType::kFloat32}), RequestOf(std::move(members), std::move(shape)))
        .run.feeds[0]
        .tensor;
  };
  const Tensor together = place({at(1, 1), at(2, 2)}, {3, 16});
  CHECK(together.data == at(1, 1).data && together.owner == memory);
  CHECK_EQ(together.byte_length, size_t{3 * 64});
  CHECK((together.shape == Shape{3, 16}));
  // Out of order, with a gap, with a row to fill up, of several owners.
  CHECK(place({at(2, 1), at(1, 1)}, {2, 16}).owner != memory);
  CHECK(place({at(0, 1), at(2, 1)}, {2, 16}).owner != memory);
  CHECK(place({at(0, 1), at(1, 1)}, {4, 16}).owner != memory);
  Tensor other = at(1, 1);
  other.owner = std::make_shared<int>(0);
  CHECK(place({at(0, 1), other}, {2, 16}).owner != memory);
}

TEST("gather: shorter members are padded, and masks mark what is theirs") {
  const ModelInfo info = InfoOf({DType::kInt32, DType::kInt64, DType::kBool});
  auto request = RequestOf({TensorOf<int32_t>(DType::kInt32, {2, 2}, {1, 2, 3, 4}),
                            TensorOf<int32_t>(DType::kInt32, {1, 3}, {5, 6, 7}),
                            TensorOf<int32_t>(DType::kInt32, {1, 0}, {})},
                           {5, 3}, -9);
  request.layout.masks = {{1, DType::kInt64, 0, 1}, {2, DType::kBool, 0, 1}};
  const auto batch = GatherAll(info, std::move(request));
  CHECK((ElementsOf<int32_t>(batch.run.feeds[0].tensor) ==
         std::vector<int32_t>{1, 2, -9, 3, 4, -9, 5, 6, 7, -9, -9, -9, -9, -9, -9}));
  CHECK((batch.run.inputs == std::vector<size_t>{0, 1, 2}));
  CHECK((batch.run.feeds[1].tensor.shape == Shape{5, 3}));
  CHECK((ElementsOf<int64_t>(batch.run.feeds[1].tensor) ==
         std::vector<int64_t>{1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}));
  CHECK((ElementsOf<uint8_t>(batch.run.feeds[2].tensor) ==
         std::vector<uint8_t>{1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}));
}

TEST("gather: members are padded with their own first element, those without with 0") {
  const ModelInfo info = InfoOf({DType::kInt16});
  const auto member = [](Shape shape, std::vector<int16_t> elements) {
    return TensorOf<int16_t>(DType::kInt16, std::move(shape), std::move(elements));
  };
  const auto batch =
      GatherAll(info, RequestOf({member({2, 2}, {1, 2, 3, 4}), member({1, 3}, {5, 6, 7}),
                                 member({1, 1}, {-8}), member({1, 0}, {})},
                                {6, 3}, std::nullopt));
  CHECK((ElementsOf<int16_t>(batch.run.feeds[0].tensor) ==
         std::vector<int16_t>{1, 2, 1, 3, 4, 1, 5, 6, 7, -8, -8, -8, 0, 0, 0, 0, 0, 0}));
}

TEST("gather: strings of all members, the last row again") {
  const auto batch = GatherAll(
      InfoOf({DType::kString}),
      RequestOf({Strings({1, 2}, {"a", std::string("\0b", 2)}), Strings({1, 2}, {"", "cde"})},
                {4, 2}));
  CHECK((StringsOf(batch.run.feeds[0].tensor) ==
         std::vector<std::string>{"a", std::string("\0b", 2), "", "cde", "", "cde", "", "cde"}));
}

TEST("gather: packed dtypes whose rows are whole bytes, and no others") {
  const ModelInfo info = InfoOf({DType::kInt4});
  const Tensor rows = TensorOf<uint8_t>(DType::kInt4, {2, 2}, {0x21, 0x43});
  const auto batch = GatherAll(info, RequestOf({rows, rows}, {5, 2}));
  CHECK((ElementsOf<uint8_t>(batch.run.feeds[0].tensor) ==
         std::vector<uint8_t>{0x21, 0x43, 0x21, 0x43, 0x43}));
  const Tensor odd = TensorOf<uint8_t>(DType::kInt4, {1, 3}, {0x21, 0x03});
  CHECK(Names(StatusOf(info, RequestOf({odd, odd}, {2, 3})), StatusCode::kUnsupported, "in0"));
  CHECK(
      Names(StatusOf(info, RequestOf({rows, rows}, {4, 4})), StatusCode::kUnsupported, "member 0"));
}

TEST("gather: random layouts as a plain loop over elements would fill them") {
  std::mt19937 random(20260101);
  const auto below = [&](size_t limit) { return static_cast<int64_t>(random() % limit); };
  for (int round = 0; round < 300; ++round) {
    const size_t rank = 1 + random() % 5;
    Shape batch(rank, 0);
    for (size_t d = 1; d < rank; ++d) batch[d] = below(5);
    std::vector<Tensor> members;
    int64_t rows = 0;
    std::vector<std::pair<Shape, std::vector<int16_t>>> given;
    for (size_t count = 1 + random() % 4; members.size() < count;) {
      Shape shape = batch;
      shape[0] = below(3) + (members.empty() ? 1 : 0);
      for (size_t d = 1; d < rank; ++d) {
        if (random() % 2 == 0) shape[d] = below(static_cast<size_t>(batch[d]) + 1);
      }
      std::vector<int16_t> elements(ElementCount(shape).value());
      for (int16_t& element : elements) element = static_cast<int16_t>(random());
      members.push_back(TensorOf(DType::kInt16, shape, elements, random() % 2 == 0));
      given.emplace_back(shape, elements);
      rows += shape[0];
    }
    batch[0] = rows + below(3);
    std::vector<int16_t> expected;
    for (const auto& [shape, elements] : given) {
      Shape at = batch;
      at[0] = shape[0];
      for (size_t i = 0; i < ElementCount(at).value(); ++i) {
        size_t rest = i;
        std::vector<int64_t> index(rank);
        for (size_t d = rank; d-- > 0;) {
          index[d] = static_cast<int64_t>(rest % static_cast<size_t>(at[d]));
          rest /= static_cast<size_t>(at[d]);
        }
        size_t from = 0;
        bool inside = true;
        for (size_t d = 0; d < rank; ++d) {
          inside = inside && index[d] < shape[d];
          from = from * static_cast<size_t>(shape[d]) + static_cast<size_t>(index[d]);
        }
        expected.push_back(inside ? elements[from] : int16_t{7});
      }
    }
    const size_t row = expected.size() / static_cast<size_t>(rows);
    while (expected.size() < ElementCount(batch).value()) {
      expected.push_back(expected[expected.size() - row]);
    }
    const ModelInfo info = InfoOf({DType::kInt16});
    auto request = RequestOf(members, batch, 7);
    for (size_t d = 1; d < rank; ++d) request.layout.trims.push_back({0, d, 0, d});
    const auto gathered = GatherAll(info, std::move(request));
    CHECK((ElementsOf<int16_t>(gathered.run.feeds[0].tensor) == expected));

    // Cut back, each member has what it gave.
    const auto parts = Cut(info, *gathered.gather, {TensorOf(DType::kInt16, batch, expected)});
    CHECK_OK(parts);
    for (size_t m = 0; m < given.size(); ++m) {
      CHECK((MemberOf(parts.value()[0], *gathered.gather, m).shape == given[m].first));
      CHECK((ElementsOf<int16_t>(MemberOf(parts.value()[0], *gathered.gather, m)) ==
             given[m].second));
    }
  }
}

TEST("gather: what is wrong with one member names it") {
  const ModelInfo info = InfoOf({DType::kFloat32, DType::kFloat32});
  const Tensor good = Floats({1, 2}, {1, 2});
  const auto status = [&](Tensor bad) {
    return StatusOf(info, [&] {
      auto request = RequestOf({good, good, good, std::move(bad)}, {2, 2});
      request.inputs = {0, 1};
      request.member_count = 2;
      request.layout.shapes = {{2, 2}, {2, 2}};
      request.layout.pad_values = {0, 0};
      return request;
    }());
  };
  const std::string who = "\"in1\" of member 1";
  CHECK(Names(status(TensorOf<double>(DType::kFloat64, {1, 2}, {1, 2})), StatusCode::kDType, who));
  CHECK(Names(status(Floats({1, 3}, {1, 2, 3})), StatusCode::kShape, who));
  CHECK(Names(status(Floats({2}, {1, 2})), StatusCode::kShape, who));
  CHECK(Names(status(Floats({}, {1})), StatusCode::kShape, who));
  CHECK(Names(status(Floats({2, 2}, {1, 2, 3, 4})), StatusCode::kShape, who));
  CHECK(Names(status(Floats({1, 2}, {1})), StatusCode::kDataLength, who));
  CHECK(Names(status(Floats({-1, 2}, {})), StatusCode::kTooLarge, who));
  constexpr int64_t kHuge = int64_t{1} << 62;
  CHECK(Names(status(Floats({kHuge, kHuge}, {})), StatusCode::kTooLarge, who));
  Tensor null = Floats({1, 2}, {1, 2});
  null.data = nullptr;
  CHECK(Names(status(null), StatusCode::kDataLength, who));
}

TEST("gather: layouts that lie are refused") {
  const ModelInfo info = InfoOf({DType::kFloat32, DType::kInt64});
  const auto status = [&](const std::function<void(BatchRequest*)>& change) {
    auto request = RequestOf({Floats({1, 2}, {1, 2}), Floats({1, 2}, {3, 4})}, {2, 2});
    change(&request);
    return StatusOf(info, std::move(request)).code();
  };
  const auto invalid = StatusCode::kInvalidArgument;
  CHECK(status([](BatchRequest*) {}) == StatusCode::kOk);
  CHECK(status([](BatchRequest* r) { r->signature = 1; }) == StatusCode::kUnknownSignature);
  CHECK(status([](BatchRequest* r) { r->inputs = {2}; }) == StatusCode::kUnknownFeed);
  CHECK(status([](BatchRequest* r) { r->inputs = {}; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->member_count = 0; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->member_count = 3; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->outputs = {1}; }) == StatusCode::kUnknownOutput);
  CHECK(status([](BatchRequest* r) { r->layout.shapes = {}; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->layout.pad_values = {}; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->layout.shapes = {{}}; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->layout.shapes = {{3, 2}}; }) == invalid);
  CHECK(status([](BatchRequest* r) { r->layout.shapes = {{-2, 2}}; }) == invalid);
  CHECK(status([](BatchRequest* r) {
          r->layout.rows = 1;
          r->layout.shapes = {{1, 2}};
        }) == StatusCode::kShape);
  CHECK(status([](BatchRequest* r) {
          r->layout.shapes = {{2, int64_t{1} << 61}};
        }) == StatusCode::kTooLarge);
  CHECK(status([](BatchRequest* r) {
          r->feeds = {Floats({0, 2}, {}), Floats({0, 2}, {})};
        }) == StatusCode::kShape);
  CHECK(status([](BatchRequest* r) {
          r->layout.shapes = {{2, 3}};
          r->layout.pad_values = {std::numeric_limits<double>::quiet_NaN()};
        }) == StatusCode::kOk);
  using Mask = BatchLayout::Mask;
  const auto mask = [&](Mask given) {
    return status([&](BatchRequest* r) { r->layout.masks = {given}; });
  };
  CHECK(mask({1, DType::kInt64, 0, 1}) == StatusCode::kOk);
  CHECK(mask({0, DType::kFloat32, 0, 1}) == StatusCode::kUnknownFeed);
  CHECK(mask({2, DType::kInt64, 0, 1}) == StatusCode::kUnknownFeed);
  CHECK(mask({1, DType::kInt32, 0, 1}) == StatusCode::kDType);
  CHECK(mask({1, DType::kInt64, 1, 1}) == invalid);
  CHECK(mask({1, DType::kInt64, 0, 0}) == invalid);
  CHECK(mask({1, DType::kInt64, 0, 2}) == invalid);
  using Trim = BatchLayout::Trim;
  for (const Trim trim :
       {Trim{1, 1, 0, 1}, Trim{0, 0, 0, 1}, Trim{0, 1, 1, 1}, Trim{0, 1, 0, 0}, Trim{0, 1, 0, 2}}) {
    CHECK(status([&](BatchRequest* r) { r->layout.trims = {trim}; }) == invalid);
  }
}

TEST("fill: a pad value is what its dtype has, and nothing else") {
  const auto bits16 = [](DType dtype, double value) {
    uint16_t bits = 0;
    const auto fill = Fill::Of(dtype, value);
    CHECK_OK(fill);
    fill.value().Write(reinterpret_cast<char*>(&bits), 2);
    return bits;
  };
  CHECK_EQ(bits16(DType::kFloat16, 1), 0x3c00);
  CHECK_EQ(bits16(DType::kFloat16, -2), 0xc000);
  CHECK_EQ(bits16(DType::kFloat16, 65504), 0x7bff);
  CHECK_EQ(bits16(DType::kFloat16, 65520), 0x7c00);
  CHECK_EQ(bits16(DType::kFloat16, 0x1p-24), 0x0001);
  CHECK_EQ(bits16(DType::kFloat16, 0x1p-14), 0x0400);
  CHECK_EQ(bits16(DType::kFloat16, 1.0 / 3), 0x3555);
  CHECK_EQ(bits16(DType::kFloat16, -INFINITY), 0xfc00);
  CHECK_EQ(bits16(DType::kBFloat16, 1), 0x3f80);
  CHECK_EQ(bits16(DType::kBFloat16, 1.0 / 3), 0x3eab);
  CHECK_EQ(bits16(DType::kBFloat16, NAN) & 0x7fc0, 0x7fc0);
  const auto code = [](DType dtype, double value) {
    return Fill::Of(dtype, value).status().code();
  };
  const auto invalid = StatusCode::kInvalidArgument;
  CHECK(code(DType::kInt8, -128) == StatusCode::kOk && code(DType::kInt8, 128) == invalid);
  CHECK(code(DType::kUInt8, 255) == StatusCode::kOk && code(DType::kUInt8, -1) == invalid);
  CHECK(code(DType::kInt64, -0x1p63) == StatusCode::kOk && code(DType::kInt64, 0x1p63) == invalid);
  CHECK(code(DType::kUInt64, 0x1p63) == StatusCode::kOk && code(DType::kUInt64, 0x1p64) == invalid);
  CHECK(code(DType::kInt32, 0.5) == invalid && code(DType::kInt32, NAN) == invalid);
  CHECK(code(DType::kBool, 1) == StatusCode::kOk && code(DType::kBool, 2) == invalid);
  CHECK(code(DType::kString, 0) == StatusCode::kUnsupported);
  CHECK(code(DType::kInt4, 0) == StatusCode::kUnsupported);
}

TEST("corner: a rank without end needs no stack") {
  Shape small(100'000, 1);
  Shape large(100'000, 1);
  small[50'000] = 2;
  large[50'000] = 3;
  const char from[2] = {1, 2};
  char to[3] = {};
  Corner(1, small.data(), large.data(), small.size())
      .CopyIn(from, to, Fill::Of(DType::kInt8, 9).value());
  CHECK(to[0] == 1 && to[1] == 2 && to[2] == 9);
  std::fill(small.begin(), small.end(), 0);
  Corner(1, small.data(), large.data(), small.size())
      .CopyIn(nullptr, to, Fill::Of(DType::kInt8, 8).value());
  CHECK(to[0] == 8 && to[1] == 8 && to[2] == 8);
}

TEST("scatter: small outputs stay whole, others share no more than they keep or are their own") {
  const ModelInfo info = InfoOf({DType::kFloat32});
  const auto batch =
      GatherAll(info, RequestOf({Floats({3, 1}, {1, 2, 3}), Floats({1, 1}, {4})}, {5, 1}));
  std::vector<float> elements(5 * 16);
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<float>(i);
  const Tensor output = Floats({5, 16}, elements);
  const auto parts = Cut(info, *batch.gather, {output});
  CHECK_OK(parts);
  CHECK(!parts.value()[0].is_whole);
  const Tensor& most = parts.value()[0].parts[0].tensor;   // 192 of 320 bytes
  const Tensor& large = parts.value()[0].parts[1].tensor;  // 64 of 320 bytes
  CHECK(most.data == output.data && most.exclusive);
  CHECK(large.data != static_cast<char*>(output.data) + 192 && large.exclusive);
  CHECK((ElementsOf(large) == std::vector<float>(elements.begin() + 48, elements.begin() + 64)));
  CHECK((most.shape == Shape{3, 16} && large.shape == Shape{1, 16}));

  const Tensor narrow = Floats({5, 1}, {1, 2, 3, 4, 5});
  const auto small = Cut(info, *batch.gather, {narrow});
  CHECK_OK(small);
  CHECK(small.value()[0].is_whole);
  CHECK_EQ(small.value()[0].parts.size(), size_t{1});
  const Tensor& whole = small.value()[0].parts[0].tensor;
  CHECK(whole.data == narrow.data && whole.exclusive);
  // Without the row that fills the batch up.
  CHECK((whole.shape == Shape{4, 1}));
  CHECK_EQ(whole.byte_length, size_t{16});

  Tensor shared = output;  // a variable of the model, say
  shared.exclusive = false;
  const auto copies = Cut(info, *batch.gather, {shared});
  CHECK_OK(copies);
  const Tensor& copy = copies.value()[0].parts[0].tensor;
  CHECK(copy.data != shared.data && copy.exclusive);
}

TEST("scatter: an output that is no tensor of the batch's rows is named, with its shape") {
  const ModelInfo info = InfoOf({DType::kFloat32});
  const auto batch =
      GatherAll(info, RequestOf({Floats({1, 2}, {1, 2}), Floats({1, 1}, {4})}, {2, 2}));
  CHECK(Names(Cut(info, *batch.gather, {Floats({1, 2}, {1, 2})}).status(), StatusCode::kBatch,
              "\"out0\", received shape [1,2]"));
  CHECK(Names(Cut(info, *batch.gather, {Floats({}, {1})}).status(), StatusCode::kBatch, "[]"));
  uint64_t copied = 0;
  CHECK(Names(Scatter(info, *batch.gather, {Value()}, kSmall, &copied).status(), StatusCode::kBatch,
              "no tensor"));
  CHECK(Scatter(info, *batch.gather, {}, kSmall, &copied).status().code() == StatusCode::kInternal);
  CHECK(Cut(info, *batch.gather, {Floats({2, 2}, {1, 2})}).status().code() ==
        StatusCode::kInternal);
  CHECK(Names(Cut(info, *batch.gather, {TensorOf<uint8_t>(DType::kUInt4, {2, 1}, {0x21})}).status(),
              StatusCode::kUnsupported, "whole bytes"));
}

TEST("scatter: outputs are cut back where they are as long as the padded input, or refused") {
  const ModelInfo info = InfoOf({DType::kFloat32});
  auto request = RequestOf({Floats({1, 2}, {1, 2}), Floats({1, 1}, {4})}, {2, 2});
  request.layout.trims = {{0, 1, 0, 1}};
  const auto batch = GatherAll(info, std::move(request));
  const auto parts = Cut(info, *batch.gather, {Strings({2, 2, 1}, {"a", "b", "c", "d"})});
  CHECK_OK(parts);
  CHECK((StringsOf(parts.value()[0].parts[0].tensor) == std::vector<std::string>{"a", "b"}));
  CHECK((StringsOf(parts.value()[0].parts[1].tensor) == std::vector<std::string>{"c"}));
  CHECK((parts.value()[0].parts[1].tensor.shape == Shape{1, 1, 1}));
  CHECK(Names(Cut(info, *batch.gather, {Floats({2, 3}, {1, 2, 3, 4, 5, 6})}).status(),
              StatusCode::kBatch, "shape [2,3]"));
  CHECK(Names(Cut(info, *batch.gather, {Floats({2}, {1, 2})}).status(), StatusCode::kBatch, "[2]"));
}

TEST("buffer pool: what came back is used again, for sizes near it") {
  const auto pool = BufferPool::Create();
  void* first = pool->Take(100'000).get();
  CHECK(pool->Take(99'000).get() == first);
  CHECK_EQ(pool->allocations(), uint64_t{1});
  const auto held = pool->Take(100'000);
  const auto other = pool->Take(100'000);
  CHECK(other.get() != held.get());
  CHECK(pool->Take(1'000'000).get() != nullptr);
  CHECK_EQ(pool->allocations(), uint64_t{3});
  CHECK(pool->Take(10).get() != nullptr);  // not the large one
  CHECK_EQ(pool->allocations(), uint64_t{4});
  CHECK(pool->Take(std::numeric_limits<size_t>::max()) == nullptr);
}

TEST("buffer pool: keeps a bounded number, and none after its end") {
  const auto pool = BufferPool::Create();
  std::vector<std::shared_ptr<void>> taken;
  for (size_t i = 0; i < BufferPool::kMostKept + 8; ++i) taken.push_back(pool->Take(64));
  taken.clear();
  CHECK_EQ(pool->kept(), BufferPool::kMostKept);
  auto late = pool->Take(64);
  pool->Close();
  CHECK_EQ(pool->kept(), size_t{0});
  late.reset();
  CHECK_EQ(pool->kept(), size_t{0});
}

TEST("buffer pool: buffers outlive the pool's users and come from any thread") {
  auto pool = BufferPool::Create();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([pool, t] {
      for (int i = 0; i < 500; ++i) {
        const auto buffer = pool->Take(4096 * static_cast<size_t>(1 + (i + t) % 3));
        std::memset(buffer.get(), t, 4096);
      }
    });
  }
  auto held = pool->Take(64);
  pool->Close();
  pool.reset();
  for (std::thread& thread : threads) thread.join();
  std::memset(held.get(), 1, 64);
}

TEST("model host: batches allocate nothing to gather once they have run") {
  const auto host =
      ModelHost::Create(std::make_shared<FakeSession>(InfoOf({DType::kFloat32}), CopyFeeds), {});
  const auto run = [&] {
    auto gather = Gather::Create(host->info(),
                                 RequestOf({Floats({1, 3000}, std::vector<float>(3000, 1), false),
                                            Floats({1, 3000}, std::vector<float>(3000, 2))},
                                           {4, 3000}),
                                 host->buffers());
    CHECK_OK(gather);
    CHECK_OK((*gather)->CopyUnowned());
    const auto parts = host->RunBatch(gather->get(), kSmall, nullptr);
    CHECK_OK(parts);
    CHECK_EQ(ElementsOf(parts.value()[0].parts[1].tensor)[2999], 2.0f);
  };
  run();
  const uint64_t allocations = host->buffers()->allocations();
  for (int i = 0; i < 50; ++i) run();
  CHECK_EQ(host->buffers()->allocations(), allocations);
  const ModelHost::Stats& stats = host->stats();
  CHECK_EQ(stats.batches.load(), uint64_t{51});
  CHECK_EQ(stats.batched_runs.load(), uint64_t{102});
  CHECK_EQ(stats.runs.load(), uint64_t{102});
  CHECK_EQ(stats.batch_rows.load(), uint64_t{102});
  CHECK_EQ(stats.padded_rows.load(), uint64_t{102});
  CHECK_EQ(stats.batch_sizes[1].load(), uint64_t{51});
  CHECK_EQ(stats.gathered_bytes.load(), uint64_t{51 * 24'000});
  CHECK(!host->RunsInline(0));
}

TEST("model host: a batch that fails or stops is so for all of its runs") {
  Status outcome(StatusCode::kRun, "no");
  const auto host =
      ModelHost::Create(std::make_shared<FakeSession>(InfoOf({DType::kFloat32}),
                                                      [&](const RunRequest&) { return outcome; }),
                        {});
  for (const StatusCode code : {StatusCode::kRun, StatusCode::kAborted}) {
    outcome = {code, "no"};
    auto gather = Gather::Create(host->info(), RequestOf({Floats({1}, {1}), Floats({1}, {2})}, {2}),
                                 host->buffers());
    CHECK_OK(gather);
    CHECK(host->RunBatch(gather->get(), kSmall, nullptr).status().code() == code);
  }
  CHECK_EQ(host->stats().runs.load(), uint64_t{4});
  CHECK_EQ(host->stats().failed.load(), uint64_t{2});
  CHECK_EQ(host->stats().cancelled.load(), uint64_t{2});
}

}  // namespace tenon
