#include "runtime/scatter.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "platform/aligned_memory.h"
#include "runtime/block_copy.h"

namespace tenon {
namespace {

Status NotOfRows(const ValueSpec& spec, size_t rows, const std::string& received) {
  return {StatusCode::kBatch, "expected a tensor of " + std::to_string(rows) +
                                  " rows, as the batch has, as output \"" + spec.name +
                                  "\", received " + received};
}

Status CheckOutput(const Value& output, const ValueSpec& spec, size_t rows) {
  if (output.kind != Value::Kind::kTensor) {
    return NotOfRows(spec, rows, "a value that is no tensor");
  }
  const Tensor& tensor = output.tensor;
  if (tensor.shape.empty() || static_cast<uint64_t>(tensor.shape[0]) != rows) {
    return NotOfRows(spec, rows, "shape " + ShapeToString(tensor.shape));
  }
  const auto count = ElementCount(tensor.shape);
  const bool whole = tensor.dtype == DType::kString
                         ? count && tensor.strings != nullptr && tensor.strings->size() == *count
                         : count && DTypeByteLength(tensor.dtype, *count) == tensor.byte_length &&
                               (tensor.byte_length == 0 || tensor.data != nullptr);
  if (!whole) {
    return {StatusCode::kInternal, "expected memory for the whole shape " +
                                       ShapeToString(tensor.shape) + " of output \"" + spec.name +
                                       "\""};
  }
  return CheckRowBytes(tensor.dtype, tensor.shape, spec.name);
}

// One output of the batch, cut again and again.
class Cutter {
 public:
  Cutter(const Tensor& tensor, const ValueSpec& spec, size_t rows)
      : tensor_(tensor),
        spec_(spec),
        row_elements_(rows == 0 ? 0 : ElementCount(tensor.shape).value_or(0) / rows),
        row_bytes_(rows == 0 ? 0 : tensor.byte_length / rows) {}

  // Rows `first` to `end` of it, of `shape`, which is nowhere larger.
  Status Cut(size_t first, size_t end, Shape shape, Tensor* part, uint64_t* copied_bytes) const {
    part->dtype = tensor_.dtype;
    part->shape = std::move(shape);
    Shape rows = tensor_.shape;
    rows[0] = static_cast<int64_t>(end - first);
    const bool trimmed = part->shape != rows;
    if (tensor_.dtype == DType::kString) {
      part->strings = CutStrings(first, rows, part->shape);
      part->exclusive = true;
      *copied_bytes += part->strings->bytes.size();
      return {};
    }
    const int bits = DTypeBits(tensor_.dtype);
    if (trimmed && bits < 8) {
      return {StatusCode::kUnsupported,
              "expected rows of one shape for output \"" + spec_.name + "\": tensors of " +
                  std::string(DTypeName(tensor_.dtype)) + " are not cut back"};
    }
    char* const from = static_cast<char*>(tensor_.data) + first * row_bytes_;
    part->byte_length =
        DTypeByteLength(tensor_.dtype, ElementCount(part->shape).value_or(0)).value_or(0);
    if (part->byte_length == 0) return {};
    if (!trimmed && tensor_.exclusive &&
        part->byte_length >= tensor_.byte_length - part->byte_length) {
      part->data = from;
      part->owner = tensor_.owner;
      part->exclusive = true;
      return {};
    }
    part->owner = AllocateAligned(part->byte_length);
    if (part->owner == nullptr) {
      return {StatusCode::kOutOfMemory, "expected memory for a member's output of " +
                                            std::to_string(part->byte_length) + " bytes"};
    }
    part->data = part->owner.get();
    part->exclusive = true;
    *copied_bytes += part->byte_length;
    if (trimmed) {
      Corner(static_cast<size_t>(bits) / 8, part->shape.data(), rows.data(), rows.size())
          .CopyOut(from, static_cast<char*>(part->data));
    } else {
      std::memcpy(part->data, from, part->byte_length);
    }
    return {};
  }

 private:
  std::shared_ptr<const StringTable> CutStrings(size_t first, const Shape& rows,
                                                const Shape& shape) const {
    auto part = std::make_shared<StringTable>();
    part->offsets.reserve(ElementCount(shape).value_or(0) + 1);
    const StringTable& all = *tensor_.strings;
    const size_t start = first * row_elements_;
    Corner(1, shape.data(), rows.data(), rows.size())
        .Visit(
            [&](size_t, size_t at, size_t count) {
              for (size_t i = 0; i < count; ++i) part->Append(all[start + at + i]);
            },
            [](size_t, size_t) {});
    return part;
  }

  const Tensor& tensor_;
  const ValueSpec& spec_;
  const size_t row_elements_;
  const size_t row_bytes_;
};

// Whether every member's part is smaller than `small` bytes.
bool AreSmall(const Tensor& tensor, const Gather& batch, size_t small) {
  const BatchRequest& request = batch.request();
  const size_t rows = request.layout.rows;
  const size_t row_bytes = rows == 0 ? 0 : tensor.byte_length / rows;
  for (size_t member = 0; member < request.member_count; ++member) {
    const size_t own = batch.first_row(member + 1) - batch.first_row(member);
    if (own * row_bytes >= small) return false;
  }
  return true;
}

// The rows of members, without those that fill the batch up.
Value MembersRows(const Tensor& tensor, const Gather& batch) {
  Tensor whole = tensor;
  const size_t rows = batch.request().layout.rows;
  if (rows > 0) whole.byte_length = whole.byte_length / rows * batch.member_rows();
  whole.shape[0] = static_cast<int64_t>(batch.member_rows());
  return Value::Of(std::move(whole));
}

}  // namespace

Result<std::vector<ScatteredOutput>> Scatter(const ModelInfo& info, const Gather& batch,
                                             const std::vector<Value>& outputs, size_t small,
                                             uint64_t* copied_bytes) {
  const BatchRequest& request = batch.request();
  const BatchLayout& layout = request.layout;
  const Signature& signature = info.signatures[request.signature];
  if (outputs.size() != request.outputs.size()) {
    return Status(StatusCode::kInternal, "expected one value for each output of the batch");
  }
  std::vector<ScatteredOutput> scattered(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ValueSpec& spec = signature.outputs[request.outputs[i]];
    TENON_RETURN_IF_ERROR(CheckOutput(outputs[i], spec, layout.rows));
    const Tensor& tensor = outputs[i].tensor;
    bool is_trimmed = false;
    for (const BatchLayout::Trim& trim : layout.trims) {
      if (trim.output != i) continue;
      is_trimmed = true;
      const int64_t expected = layout.shapes[trim.of][trim.input_dim];
      if (trim.dim < tensor.shape.size() && tensor.shape[trim.dim] == expected) continue;
      return Status(StatusCode::kBatch,
                    "expected " + std::to_string(expected) + " as dimension " +
                        std::to_string(trim.dim) + " of output \"" + spec.name +
                        "\", to be cut back to a member's own, received shape " +
                        ShapeToString(tensor.shape));
    }
    std::vector<Value>& parts = scattered[i].parts;
    if (!is_trimmed && tensor.dtype != DType::kString && AreSmall(tensor, batch, small)) {
      scattered[i].is_whole = true;
      parts.push_back(MembersRows(tensor, batch));
      continue;
    }
    const Cutter cutter(tensor, spec, layout.rows);
    parts.resize(request.member_count);
    for (size_t member = 0; member < request.member_count; ++member) {
      const size_t first = batch.first_row(member);
      const size_t end = batch.first_row(member + 1);
      Shape shape = tensor.shape;
      shape[0] = static_cast<int64_t>(end - first);
      for (const BatchLayout::Trim& trim : layout.trims) {
        if (trim.output == i) shape[trim.dim] = batch.feed_dim(member, trim.of, trim.input_dim);
      }
      Value& part = parts[member];
      part.kind = Value::Kind::kTensor;
      TENON_RETURN_IF_ERROR(cutter.Cut(first, end, std::move(shape), &part.tensor, copied_bytes));
    }
  }
  return scattered;
}

}  // namespace tenon
