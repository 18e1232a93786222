#include "runtime/gather.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "platform/aligned_memory.h"

namespace tenon {
namespace {

Status OutOfMemory(size_t byte_length) {
  return {StatusCode::kOutOfMemory,
          "expected memory for a batch's input of " + std::to_string(byte_length) + " bytes"};
}

bool SameRows(const Shape& one, const Shape& other) {
  return std::equal(one.begin() + 1, one.end(), other.begin() + 1);
}

}  // namespace

Result<std::unique_ptr<Gather>> Gather::Create(const ModelInfo& info, BatchRequest request,
                                               std::shared_ptr<BufferPool> buffers) {
  TENON_RETURN_IF_ERROR(CheckBatch(info, request));
  std::unique_ptr<Gather> gather(new Gather(std::move(request), std::move(buffers)));
  TENON_RETURN_IF_ERROR(gather->Prepare(info));
  return gather;
}

Status Gather::Prepare(const ModelInfo& info) {
  const BatchLayout& layout = request_.layout;
  const Signature& signature = info.signatures[request_.signature];
  tensors_.resize(request_.inputs.size());
  fills_.resize(request_.inputs.size());
  copied_.resize(request_.feeds.size());
  first_rows_.push_back(0);
  for (size_t member = 0; member < request_.member_count; ++member) {
    first_rows_.push_back(first_rows_.back() + request_.rows_of(member));
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].dtype = signature.inputs[request_.inputs[i]].dtype;
    tensors_[i].shape = layout.shapes[i];
    for (size_t member = 0; member < request_.member_count; ++member) {
      if (SameRows(request_.feed(member, i).shape, layout.shapes[i])) continue;
      // Of a member that has no element to pad with, 0 stands for it.
      const auto fill = Fill::Of(tensors_[i].dtype, layout.pad_values[i].value_or(0));
      if (!fill.ok()) return fill.status();
      fills_[i] = fill.value();
      break;
    }
  }
  for (const BatchLayout::Mask& mask : layout.masks) {
    for (const double mark : {0.0, 1.0}) {
      const auto fill = Fill::Of(mask.dtype, mark);
      if (!fill.ok()) return fill.status();
      marks_.push_back(fill.value());
    }
    const int64_t length = layout.shapes[mask.of][mask.dim];
    const auto count = ElementCount({static_cast<int64_t>(layout.rows), length});
    if (!count || !DTypeByteLength(mask.dtype, *count)) {
      return {StatusCode::kTooLarge,
              "expected a mask whose size fits for \"" + signature.inputs[mask.input].name + "\""};
    }
  }
  return {};
}

bool Gather::GoesAsItIs(size_t input) const {
  const Tensor& first = request_.feed(0, input);
  if (first.dtype == DType::kString) {
    return request_.member_count == 1 && first.shape == tensors_[input].shape;
  }
  // JavaScript might write to indices between their check and their use.
  if (first.owner == nullptr || IsIndexLike(first.dtype)) return false;
  if (request_.layout.rows != member_rows()) return false;
  if (request_.member_count > 1 &&
      reinterpret_cast<uintptr_t>(first.data) % kTensorAlignment != 0) {
    return false;
  }
  const char* next = static_cast<const char*>(first.data);
  for (size_t member = 0; member < request_.member_count; ++member) {
    const Tensor& feed = request_.feed(member, input);
    if (feed.owner != first.owner || feed.data != next) return false;
    if (!SameRows(feed.shape, tensors_[input].shape)) return false;
    next += feed.byte_length;
  }
  return true;
}

Status Gather::MakeTensor(size_t input) {
  Tensor& tensor = tensors_[input];
  if (tensor.owner != nullptr) return {};
  tensor.byte_length =
      DTypeByteLength(tensor.dtype, ElementCount(tensor.shape).value_or(0)).value_or(0);
  tensor.owner = buffers_->Take(tensor.byte_length);
  if (tensor.owner == nullptr) return OutOfMemory(tensor.byte_length);
  tensor.data = tensor.owner.get();
  return {};
}

void Gather::CopyFeed(size_t member, size_t input) {
  const Tensor& feed = request_.feed(member, input);
  const Tensor& tensor = tensors_[input];
  copied_[member * request_.inputs.size() + input] = true;
  if (tensor.byte_length == 0 || first_rows_[member + 1] == first_rows_[member]) return;
  const size_t row_bytes = tensor.byte_length / request_.layout.rows;
  char* const to = static_cast<char*>(tensor.data) + first_rows_[member] * row_bytes;
  copied_bytes_ += feed.byte_length;
  if (SameRows(feed.shape, tensor.shape)) {
    std::memcpy(to, feed.data, feed.byte_length);
    return;
  }
  Shape rows = tensor.shape;
  rows[0] = feed.shape[0];
  const size_t element_bytes = static_cast<size_t>(DTypeBits(tensor.dtype)) / 8;
  const bool own = !request_.layout.pad_values[input] && feed.byte_length > 0;
  Corner(element_bytes, feed.shape.data(), rows.data(), rows.size())
      .CopyIn(static_cast<const char*>(feed.data), to,
              own ? Fill::OfElement(feed.data, element_bytes) : fills_[input]);
}

void Gather::RepeatLastRow(Tensor* tensor) const {
  const size_t rows = request_.layout.rows;
  if (tensor->byte_length == 0 || rows == member_rows()) return;
  const size_t row_bytes = tensor->byte_length / rows;
  char* const data = static_cast<char*>(tensor->data);
  const char* const last = data + (member_rows() - 1) * row_bytes;
  for (size_t row = member_rows(); row < rows; ++row) {
    std::memcpy(data + row * row_bytes, last, row_bytes);
  }
}

void Gather::JoinStrings(size_t input) {
  auto joined = std::make_shared<StringTable>();
  Tensor& tensor = tensors_[input];
  const size_t count = ElementCount(tensor.shape).value_or(0);
  joined->offsets.reserve(count + 1);
  size_t byte_length = 0;
  for (size_t member = 0; member < request_.member_count; ++member) {
    byte_length += request_.feed(member, input).strings->bytes.size();
  }
  joined->bytes.reserve(byte_length);
  for (size_t member = 0; member < request_.member_count; ++member) {
    const StringTable& strings = *request_.feed(member, input).strings;
    const size_t start = joined->bytes.size();
    joined->bytes.insert(joined->bytes.end(), strings.bytes.begin(), strings.bytes.end());
    for (size_t i = 1; i < strings.offsets.size(); ++i) {
      joined->offsets.push_back(start + strings.offsets[i]);
    }
  }
  copied_bytes_ += joined->bytes.size();
  const size_t row = request_.layout.rows == 0 ? 0 : count / request_.layout.rows;
  for (size_t i = joined->size(); i < count; ++i) {
    // A copy: what it is a view of grows.
    joined->Append(std::string((*joined)[i - row]));
  }
  tensor.strings = std::move(joined);
}

Status Gather::MakeMask(const BatchLayout::Mask& mask, Value* value) {
  const auto length = static_cast<size_t>(request_.layout.shapes[mask.of][mask.dim]);
  Tensor tensor;
  tensor.dtype = mask.dtype;
  tensor.shape = {static_cast<int64_t>(request_.layout.rows), static_cast<int64_t>(length)};
  const size_t element_bytes = static_cast<size_t>(DTypeBits(mask.dtype)) / 8;
  tensor.byte_length = request_.layout.rows * length * element_bytes;
  tensor.owner = buffers_->Take(tensor.byte_length);
  if (tensor.owner == nullptr) return OutOfMemory(tensor.byte_length);
  tensor.data = tensor.owner.get();
  const size_t index = static_cast<size_t>(&mask - request_.layout.masks.data());
  const Fill& padding = marks_[2 * index];
  const Fill& real = marks_[2 * index + 1];
  char* to = static_cast<char*>(tensor.data);
  for (size_t member = 0; member < request_.member_count; ++member) {
    const auto own = static_cast<size_t>(request_.feed(member, mask.of).shape[mask.dim]);
    for (size_t row = first_rows_[member]; row < first_rows_[member + 1]; ++row) {
      real.Write(to, own * element_bytes);
      padding.Write(to + own * element_bytes, (length - own) * element_bytes);
      to += length * element_bytes;
    }
  }
  RepeatLastRow(&tensor);
  *value = Value::Of(std::move(tensor));
  return {};
}

Status Gather::CopyUnowned() {
  for (size_t input = 0; input < tensors_.size(); ++input) {
    if (tensors_[input].dtype == DType::kString) continue;
    for (size_t member = 0; member < request_.member_count; ++member) {
      const Tensor& feed = request_.feed(member, input);
      if (feed.owner != nullptr || feed.byte_length == 0) continue;
      TENON_RETURN_IF_ERROR(MakeTensor(input));
      CopyFeed(member, input);
    }
  }
  return {};
}

Status Gather::CopyRest() {
  for (size_t input = 0; input < tensors_.size(); ++input) {
    Tensor& tensor = tensors_[input];
    if (tensor.owner == nullptr && GoesAsItIs(input)) {
      const Shape& shape = request_.layout.shapes[input];
      tensor = request_.feed(0, input);
      tensor.shape = shape;
      for (size_t member = 1; member < request_.member_count; ++member) {
        tensor.byte_length += request_.feed(member, input).byte_length;
      }
      continue;
    }
    if (tensor.dtype == DType::kString) {
      JoinStrings(input);
      continue;
    }
    TENON_RETURN_IF_ERROR(MakeTensor(input));
    for (size_t member = 0; member < request_.member_count; ++member) {
      if (!copied_[member * tensors_.size() + input]) CopyFeed(member, input);
    }
    RepeatLastRow(&tensor);
  }
  return {};
}

bool Gather::IsAllOwned() const {
  for (size_t i = 0; i < request_.feeds.size(); ++i) {
    const Tensor& feed = request_.feeds[i];
    if (!copied_[i] && feed.owner == nullptr && feed.byte_length > 0) return false;
  }
  return true;
}

Status Gather::Finish(CancelToken* cancel, RunRequest* run) {
  if (IsAllOwned()) {
    TENON_RETURN_IF_ERROR(CopyRest());
  } else {
    // Cancel waits until a copy that is under way has ended; after it nothing reads
    // memory without an owner, which may vanish with the environment it came from.
    std::mutex copying;
    bool stopped = false;
    const CancelToken::Scope scope(cancel, [&copying, &stopped] {
      std::lock_guard<std::mutex> lock(copying);
      stopped = true;
    });
    std::lock_guard<std::mutex> lock(copying);
    if (stopped) return {StatusCode::kAborted, "the batch was stopped before it ran"};
    TENON_RETURN_IF_ERROR(CopyRest());
  }
  run->inputs = request_.inputs;
  run->feeds.clear();
  for (Tensor& tensor : tensors_) run->feeds.push_back(Value::Of(std::move(tensor)));
  for (const BatchLayout::Mask& mask : request_.layout.masks) {
    run->inputs.push_back(mask.input);
    run->feeds.emplace_back();
    TENON_RETURN_IF_ERROR(MakeMask(mask, &run->feeds.back()));
  }
  for (Tensor& feed : request_.feeds) {
    feed.owner.reset();
    feed.strings.reset();
    feed.data = nullptr;
  }
  return {};
}

}  // namespace tenon
