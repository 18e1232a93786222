#include "codec/json_write.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "codec/base64.h"
#include "codec/decimal.h"
#include "codec/json_escape.h"
#include "codec/json_infer.h"

namespace tenon::codec {
namespace {

constexpr size_t kIndent = 4;
constexpr std::string_view kBytesSuffix = "_bytes";
// More dimensions than tensors of either engine have.
constexpr size_t kMaxRank = 255;

// A comma and a new line with as many levels before it.
std::string_view CommaAndLine(size_t level) {
  // Of the lists, and of the objects they are in.
  static const std::string text = ",\n" + std::string((kMaxRank + 4) * kIndent, ' ');
  return std::string_view(text).substr(0, 2 + level * kIndent);
}

// Bits of a half as a float, exactly.
float FromFloat16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31;
  const uint32_t exponent = (bits >> 10) & 0x1f;
  const uint32_t fraction = bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign == 0 ? magnitude : -magnitude;
  }
  const uint32_t biased = exponent == 0x1f ? 0xff : exponent + (127 - 15);
  return std::bit_cast<float>(sign | biased << 23 | fraction << 13);
}

float FromBFloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

char* WriteElement(char* out, float element) { return WriteDecimal(out, element); }
char* WriteElement(char* out, double element) { return WriteDecimal(out, element); }
char* WriteElement(char* out, bool element) {
  std::memcpy(out, element ? "true" : "false", element ? 4 : 5);
  return out + (element ? 4 : 5);
}
template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
char* WriteElement(char* out, T element) {
  return std::to_chars(out, out + kMaxDecimalLength, element).ptr;
}

// An output and how far it is written.
class Output {
 public:
  explicit Output(const NamedTensor& output)
      : name_(output.name),
        tensor_(output.tensor),
        as_bytes_(output.tensor.dtype == DType::kString && name_.ends_with(kBytesSuffix)) {}

  const std::string& name() const { return name_; }
  const Shape& shape() const { return tensor_.shape; }
  // Room its elements will take, roughly.
  size_t Estimate() const;

  // The next elements of the tensor, as lists of the dimensions from `dimension` on.
  // `level` are the lists and objects they are in; on one line or each on its own.
  void Write(size_t dimension, size_t level, bool one_line, TextBuffer* text) {
    if (dimension == shape().size()) {
      WriteElements(1, level, "", text);
      return;
    }
    const int64_t size = shape()[dimension];
    if (size == 0) {
      text->Append("[]");
      return;
    }
    const std::string_view separator = one_line ? ", " : CommaAndLine(level + 1);
    text->Append("[");
    if (!one_line) text->Append(separator.substr(1));
    if (dimension + 1 == shape().size()) {
      WriteElements(static_cast<size_t>(size), level + 1, separator, text);
    } else {
      for (int64_t i = 0; i < size; ++i) {
        if (i > 0) text->Append(separator);
        Write(dimension + 1, level + 1, one_line, text);
      }
    }
    if (!one_line) text->Append(CommaAndLine(level).substr(1));
    text->Append("]");
  }

 private:
  void WriteElements(size_t count, size_t level, std::string_view separator, TextBuffer* text);
  template <typename T, typename Convert>
  void WriteNumbers(size_t count, std::string_view separator, TextBuffer* text, Convert convert);
  void WriteStrings(size_t count, size_t level, std::string_view separator, TextBuffer* text);

  const std::string& name_;
  const Tensor& tensor_;
  const bool as_bytes_;
  size_t next_ = 0;
};

size_t Output::Estimate() const {
  constexpr size_t kNumberBytes = 14;
  if (tensor_.dtype == DType::kString) return tensor_.strings->bytes.size();
  return tensor_.byte_length / static_cast<size_t>(DTypeBits(tensor_.dtype) / 8) * kNumberBytes;
}

template <typename T, typename Convert>
void Output::WriteNumbers(size_t count, std::string_view separator, TextBuffer* text,
                          Convert convert) {
  const auto* const elements = static_cast<const T*>(tensor_.data) + next_;
  next_ += count;
  // A part at a time, so that there need not be room for the longest numbers there are.
  constexpr size_t kPart = 64;
  const size_t each = kMaxDecimalLength + separator.size();
  for (size_t start = 0; start < count; start += kPart) {
    const size_t end = count - start < kPart ? count : start + kPart;
    char* out = text->Room((end - start) * each);
    for (size_t i = start; i < end; ++i) {
      if (i > 0) {
        std::memcpy(out, separator.data(), separator.size());
        out += separator.size();
      }
      out = WriteElement(out, convert(elements[i]));
    }
    text->Advance(out);
  }
}

void Output::WriteStrings(size_t count, size_t level, std::string_view separator,
                          TextBuffer* text) {
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) text->Append(separator);
    const std::string_view element = (*tensor_.strings)[next_++];
    if (!as_bytes_) {
      text->Append("\"");
      text->Advance(WriteEscaped(element, text->Room(kMaxEscaped * element.size())));
      text->Append("\"");
      continue;
    }
    text->Append("{\n");
    text->Append(' ', (level + 1) * kIndent);
    text->Append("\"b64\": \"");
    const size_t length = Base64EncodedLength(element.size());
    char* const out = text->Room(length);
    EncodeBase64(element, out);
    text->Advance(out + length);
    text->Append("\"\n");
    text->Append(' ', level * kIndent);
    text->Append("}");
  }
}

void Output::WriteElements(size_t count, size_t level, std::string_view separator,
                           TextBuffer* text) {
  const auto numbers = [&]<typename T>(T, auto convert) {
    WriteNumbers<T>(count, separator, text, convert);
  };
  const auto as_it_is = [](auto element) { return element; };
  switch (tensor_.dtype) {
    case DType::kFloat32: return numbers(float{}, as_it_is);
    case DType::kFloat64: return numbers(double{}, as_it_is);
    case DType::kFloat16: return numbers(uint16_t{}, FromFloat16);
    case DType::kBFloat16: return numbers(uint16_t{}, FromBFloat16);
    case DType::kInt8: return numbers(int8_t{}, as_it_is);
    case DType::kUInt8: return numbers(uint8_t{}, as_it_is);
    case DType::kInt16: return numbers(int16_t{}, as_it_is);
    case DType::kUInt16: return numbers(uint16_t{}, as_it_is);
    case DType::kInt32: return numbers(int32_t{}, as_it_is);
    case DType::kUInt32: return numbers(uint32_t{}, as_it_is);
    case DType::kInt64: return numbers(int64_t{}, as_it_is);
    case DType::kUInt64: return numbers(uint64_t{}, as_it_is);
    // Any byte may be there, and all but zero are true.
    case DType::kBool: return numbers(uint8_t{}, [](uint8_t element) { return element != 0; });
    default: return WriteStrings(count, level, separator, text);
  }
}

void WriteKey(std::string_view key, size_t level, bool first, TextBuffer* text) {
  text->Append(first ? "\n" : ",\n");
  text->Append(' ', level * kIndent);
  text->Append("\"");
  text->Advance(WriteEscaped(key, text->Room(kMaxEscaped * key.size())));
  text->Append("\": ");
}

void WriteRows(std::vector<Output>* outputs, int64_t rows, TextBuffer* text) {
  text->Append("{\n    \"predictions\": [");
  const bool objects = outputs->size() > 1;
  for (int64_t row = 0; row < rows; ++row) {
    if (!objects) {
      if (row > 0) text->Append(", ");
      outputs->front().Write(1, 2, true, text);
      continue;
    }
    text->Append(row > 0 ? ",\n        {" : "\n        {");
    bool first = true;
    for (Output& output : *outputs) {
      WriteKey(output.name(), 3, first, text);
      output.Write(1, 3, true, text);
      first = false;
    }
    text->Append("\n        }");
  }
  text->Append(rows > 0 ? "\n    ]\n}" : "]\n}");
}

void WriteColumns(std::vector<Output>* outputs, TextBuffer* text) {
  text->Append("{\n    \"outputs\": ");
  if (outputs->size() == 1) {
    outputs->front().Write(0, 1, false, text);
  } else {
    text->Append("{");
    bool first = true;
    for (Output& output : *outputs) {
      WriteKey(output.name(), 2, first, text);
      output.Write(0, 2, false, text);
      first = false;
    }
    text->Append("\n    }");
  }
  text->Append("\n}");
}

}  // namespace

bool CanBeWritten(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kInt16:
    case DType::kUInt16:
    case DType::kInt32:
    case DType::kUInt32:
    case DType::kInt64:
    case DType::kUInt64:
    case DType::kBool:
    case DType::kString: return true;
    default: return false;
  }
}

std::optional<RequestError> EncodePredict(BodyForm form, const std::vector<NamedTensor>& outputs,
                                          TextBuffer* text) {
  if (outputs.empty()) {
    return RequestError{.message = "Cannot convert empty tensor map to JSON"};
  }
  int64_t rows = -1;
  size_t estimate = 64;
  std::vector<Output> written;
  written.reserve(outputs.size());
  for (const NamedTensor& named : outputs) {
    const Output& output = written.emplace_back(named);
    if (form == BodyForm::kRow) {
      if (output.shape().empty()) {
        return RequestError{.message = "Tensor name: " + named.name + " has no shape information "};
      }
      const int64_t size = output.shape()[0];
      if (rows >= 0 && rows != size) {
        return RequestError{.message = "Tensor name: " + named.name +
                                       " has inconsistent batch size: " + std::to_string(size) +
                                       " expecting: " + std::to_string(rows)};
      }
      rows = size;
    }
    // An empty tensor has no element to fail at.
    if (!CanBeWritten(named.tensor.dtype) || output.shape().size() > kMaxRank) {
      if (ElementCount(output.shape()) == size_t{0} && output.shape().size() <= kMaxRank) continue;
      return RequestError{.message = "Failed to write JSON value for tensor type: " +
                                     std::string(TensorFlowTypeName(named.tensor.dtype))};
    }
    estimate += output.Estimate();
  }
  (void)text->Room(std::min(estimate, TextBuffer::kMaxBytes));
  if (form == BodyForm::kRow) {
    WriteRows(&written, rows, text);
  } else {
    WriteColumns(&written, text);
  }
  return std::nullopt;
}

void WeaveTensors(const std::vector<std::string>& pieces, const std::vector<Tensor>& tensors,
                  TextBuffer* text) {
  std::vector<NamedTensor> flat;
  std::vector<Output> outputs;
  flat.reserve(tensors.size());
  outputs.reserve(tensors.size());
  size_t estimate = 0;
  for (const Tensor& tensor : tensors) {
    NamedTensor& named = flat.emplace_back(NamedTensor{.name = {}, .tensor = tensor});
    named.tensor.shape = {static_cast<int64_t>(ElementCount(tensor.shape).value_or(0))};
    estimate += outputs.emplace_back(named).Estimate();
  }
  for (const std::string& piece : pieces) estimate += piece.size();
  (void)text->Room(std::min(estimate, TextBuffer::kMaxBytes));
  for (size_t i = 0; i < pieces.size(); ++i) {
    text->Append(pieces[i]);
    if (i < outputs.size()) outputs[i].Write(0, 0, true, text);
  }
}

}  // namespace tenon::codec
