#include "engines/tensorflow/graph_check.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "engines/tensorflow/wire.h"

namespace tenon::tensorflow {
namespace {

// A protobuf message cannot be larger.
constexpr uintmax_t kMaxMessageBytes = std::numeric_limits<int32_t>::max();

// TensorFlow's own limit on the rank of a tensor.
constexpr int kMaxRank = 254;

// The parser of protobuf gives up at 100.
constexpr int kMaxDepth = 100;

// Operations that need the rank they were made for, see GraphFacts.
constexpr std::string_view kRankBound[] = {
    "BatchMatMul",   "BatchMatMulV2",         "BatchMatMulV3", "Conv2D",
    "Conv3D",        "DepthwiseConv2dNative", "MaxPool3D",     "FakeQuantWithMinMaxVarsPerChannel",
    "LSTMBlockCell",
};

// What a graph that was optimized before holds in their place.
constexpr std::string_view kFusedPrefixes[] = {"_Fused", "_Mkl"};

bool IsRankBound(std::string_view operation) {
  for (const std::string_view name : kRankBound) {
    if (operation == name) return true;
  }
  for (const std::string_view prefix : kFusedPrefixes) {
    if (operation.starts_with(prefix)) return true;
  }
  return false;
}

// A NodeDef's operation.
constexpr uint32_t kOperationField = 2;

// The messages on the way from a model to its shapes.
enum class Message {
  kSavedModel,
  kMetaGraph,
  kGraph,
  kLibrary,
  kFunction,
  kNode,
  kAttributeEntry,
  kAttribute,
  kAttributeList,
  kFunctionReference,
  kTensor,
  kShape,
  kDimension,
};

// Which field of which message leads on, by number.
struct Step {
  Message from;
  uint32_t field;
  Message to;
};

constexpr Step kSteps[] = {
    {Message::kSavedModel, 2, Message::kMetaGraph},
    {Message::kMetaGraph, 2, Message::kGraph},
    {Message::kGraph, 1, Message::kNode},
    {Message::kGraph, 2, Message::kLibrary},
    {Message::kLibrary, 1, Message::kFunction},
    {Message::kFunction, 3, Message::kNode},
    {Message::kFunction, 5, Message::kAttributeEntry},
    {Message::kNode, 5, Message::kAttributeEntry},
    {Message::kAttributeEntry, 2, Message::kAttribute},
    {Message::kAttribute, 1, Message::kAttributeList},
    {Message::kAttribute, 7, Message::kShape},
    {Message::kAttribute, 8, Message::kTensor},
    {Message::kAttribute, 10, Message::kFunctionReference},
    {Message::kAttributeList, 7, Message::kShape},
    {Message::kAttributeList, 8, Message::kTensor},
    {Message::kAttributeList, 9, Message::kFunctionReference},
    {Message::kFunctionReference, 2, Message::kAttributeEntry},
    {Message::kTensor, 2, Message::kShape},
    {Message::kShape, 2, Message::kDimension},
};

std::optional<Message> Next(Message from, uint32_t field) {
  for (const Step& step : kSteps) {
    if (step.from == from && step.field == field) return step.to;
  }
  return std::nullopt;
}

// One shape, as its dimensions come. A message that appears twice in its parent
// is merged into one by protobuf, so the dimensions of all of them count.
struct ShapeCount {
  int rank = 0;
  int64_t elements = 1;
};

class Walker {
 public:
  Status Walk(Message message, std::string_view bytes, int depth, ShapeCount* shape) {
    if (depth > kMaxDepth) {
      return {StatusCode::kModelInvalid,
              "expected a graph nested at most " + std::to_string(kMaxDepth) + " deep"};
    }
    // What merges: all shapes of one attribute, all of one tensor in a list.
    ShapeCount own;
    if (message == Message::kAttribute || shape == nullptr) shape = &own;
    int64_t size = 0;
    while (!bytes.empty()) {
      const auto tag = TakeVarint(&bytes);
      if (!tag) return {};
      const auto field = static_cast<uint32_t>(*tag >> 3);
      switch (*tag & 7) {
        case 0: {
          const auto value = TakeVarint(&bytes);
          if (!value) return {};
          if (message == Message::kDimension && field == 1) size = static_cast<int64_t>(*value);
          break;
        }
        case 1:
        case 5: {
          const size_t width = (*tag & 7) == 1 ? 8 : 4;
          if (bytes.size() < width) return {};
          bytes.remove_prefix(width);
          break;
        }
        case 2: {
          const auto length = TakeVarint(&bytes);
          if (!length || *length > bytes.size()) return {};
          if (message == Message::kNode && field == kOperationField) {
            NoteOperation(bytes.substr(0, *length));
          }
          if (const auto next = Next(message, field)) {
            const bool is_item = message == Message::kAttributeList;
            TENON_RETURN_IF_ERROR(
                Walk(*next, bytes.substr(0, *length), depth + 1, is_item ? nullptr : shape));
          }
          bytes.remove_prefix(*length);
          break;
        }
        // Groups, which these messages never had: the parser might skip what
        // this one would have to look at.
        default: return {StatusCode::kModelInvalid, "expected a graph without protobuf groups"};
      }
    }
    return message == Message::kDimension ? AddDimension(size, shape) : Status();
  }

  GraphFacts& facts() { return facts_; }

 private:
  void NoteOperation(std::string_view operation) {
    if (facts_.rank_bound.empty() && IsRankBound(operation)) facts_.rank_bound = operation;
  }

  static Status AddDimension(int64_t size, ShapeCount* shape) {
    if (size < -1) {
      return {
          StatusCode::kModelInvalid,
          "expected sizes of -1 or more in the graph's shapes, received " + std::to_string(size)};
    }
    if (++shape->rank > kMaxRank) {
      return {StatusCode::kModelInvalid, "expected shapes of rank " + std::to_string(kMaxRank) +
                                             " at most in the graph, received one above"};
    }
    if (size <= 0) return {};
    if (shape->elements > std::numeric_limits<int64_t>::max() / size) {
      return {StatusCode::kModelInvalid,
              "expected shapes in the graph whose number of elements fits 63 bits, received one "
              "that overflows"};
    }
    shape->elements *= size;
    return {};
  }

  GraphFacts facts_;
};

Result<GraphFacts> Check(Message message, std::string_view bytes) {
  Walker walker;
  TENON_RETURN_IF_ERROR(walker.Walk(message, bytes, 0, nullptr));
  return std::move(walker.facts());
}

}  // namespace

Result<GraphFacts> CheckSavedModel(std::string_view bytes) {
  return Check(Message::kSavedModel, bytes);
}

Result<GraphFacts> CheckGraphDef(std::string_view bytes) { return Check(Message::kGraph, bytes); }

Result<std::string> ReadMessageFile(const std::string& path) {
  const std::filesystem::path file(std::u8string(path.begin(), path.end()));
  std::error_code error;
  if (std::filesystem::status(file, error).type() == std::filesystem::file_type::not_found) {
    return Status(StatusCode::kModelNotFound, "expected a model at " + path + ", found nothing");
  }
  const uintmax_t size = std::filesystem::file_size(file, error);
  if (error) {
    return Status(StatusCode::kModelNotFound,
                  "expected a model at " + path + ": " + error.message());
  }
  if (size > kMaxMessageBytes) {
    return Status(StatusCode::kModelInvalid, "expected less than 2 GiB at " + path + ", received " +
                                                 std::to_string(size) + " bytes");
  }
  std::string bytes(size, '\0');
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) {
    return Status(StatusCode::kModelNotFound, "cannot read the model at " + path);
  }
  return bytes;
}

}  // namespace tenon::tensorflow
