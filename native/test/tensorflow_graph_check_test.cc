#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include "engines/tensorflow/graph_check.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

namespace tenon::tensorflow {
namespace {

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string Sub(uint32_t field, const std::string& message) {
  return Varint(field << 3 | 2) + Varint(message.size()) + message;
}

std::string Shape(const std::vector<int64_t>& sizes) {
  std::string shape;
  for (const int64_t size : sizes) {
    shape += Sub(2, Varint(1 << 3) + Varint(static_cast<uint64_t>(size)));
  }
  return shape;
}

// A graph of one node with one attribute.
std::string Graph(const std::string& attribute) {
  return Sub(1, Sub(5, Sub(1, "value") + Sub(2, attribute)));
}

std::string ConstantOf(const std::vector<int64_t>& sizes) {
  return Graph(Sub(8, Sub(2, Shape(sizes))));
}

}  // namespace

TEST("tensorflow: a graph with ordinary shapes passes") {
  CHECK_OK(CheckGraphDef(ConstantOf({2, 3, 0, 4})));
  CHECK_OK(CheckGraphDef(ConstantOf({-1, int64_t{1} << 62})));
  CHECK_OK(CheckGraphDef(""));
}

TEST("tensorflow: a constant whose elements overflow is refused") {
  const auto checked = CheckGraphDef(ConstantOf({int64_t{1} << 40, int64_t{1} << 40}));
  CHECK(checked.status().code() == StatusCode::kModelInvalid);
}

TEST("tensorflow: shapes that protobuf would merge count as one") {
  const std::string half = Sub(2, Shape({int64_t{1} << 40}));
  CHECK(!CheckGraphDef(Graph(Sub(8, half + half))).ok());
  CHECK(!CheckGraphDef(Graph(Sub(8, half) + Sub(8, half))).ok());
}

TEST("tensorflow: shapes of different tensors in a list do not count together") {
  const std::string tensor = Sub(8, Sub(2, Shape({int64_t{1} << 40})));
  CHECK_OK(CheckGraphDef(Graph(Sub(1, tensor + tensor))));
  CHECK(!CheckGraphDef(Graph(Sub(1, Sub(7, Shape({int64_t{1} << 40, int64_t{1} << 40}))))).ok());
}

TEST("tensorflow: negative sizes and ranks above the limit are refused") {
  CHECK(!CheckGraphDef(ConstantOf({-2})).ok());
  CHECK(!CheckGraphDef(ConstantOf(std::vector<int64_t>(255, 1))).ok());
  CHECK_OK(CheckGraphDef(ConstantOf(std::vector<int64_t>(254, 1))));
}

TEST("tensorflow: constants inside functions are checked") {
  const std::string node = Sub(3, Sub(5, Sub(2, Sub(8, Sub(2, Shape({int64_t{1} << 62, 4}))))));
  CHECK(!CheckGraphDef(Sub(2, Sub(1, node))).ok());
}

TEST("tensorflow: an operation that takes one rank alone is found in nodes and functions") {
  const auto found = [](const std::string& graph) { return CheckGraphDef(graph)->rank_bound; };
  const std::string node = Sub(1, "features/conv") + Sub(2, "Conv2D");
  CHECK(found(Sub(1, node)) == "Conv2D");
  CHECK(found(Sub(2, Sub(1, Sub(3, node)))) == "Conv2D");
  CHECK(found(Sub(1, Sub(2, "_FusedConv2D"))) == "_FusedConv2D");
  CHECK(found(Sub(1, Sub(1, "Conv2D") + Sub(2, "Mul"))).empty());
  CHECK(found("").empty());
}

TEST("tensorflow: a graph nested without end is refused, not followed") {
  std::string attribute;
  for (int i = 0; i < 10000; ++i) attribute = Sub(10, Sub(2, Sub(2, attribute)));
  CHECK(!CheckGraphDef(Graph(attribute)).ok());
}

TEST("tensorflow: every truncation of a graph ends the check") {
  const std::string graph = ConstantOf({3, 4});
  for (size_t length = 0; length < graph.size(); ++length) {
    CHECK_OK(CheckGraphDef(std::string_view(graph).substr(0, length)));
  }
}

TEST("tensorflow: a SavedModel that would end the process is refused at load") {
  const auto bytes = ReadMessageFile(std::string(TENON_FIXTURES_DIR) +
                                     "/hostile/saved_model_huge_constant/saved_model.pb");
  CHECK_OK(bytes);
  CHECK(CheckSavedModel(bytes.value()).status().code() == StatusCode::kModelInvalid);
}

}  // namespace tenon::tensorflow
