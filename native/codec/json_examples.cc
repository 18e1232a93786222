#include "codec/json_examples.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>

#include "codec/base64.h"
#include "codec/json_predict.h"
#include "codec/json_text.h"

namespace tenon::codec {
namespace {

// --- The wire format of tensorflow/core/example/{example,feature}.proto ---

// Numbers of fields: those of Feature are those of its kinds as well.
enum class Kind : uint8_t { kNotSet = 0, kBytes = 1, kFloat = 2, kInt64 = 3 };
constexpr uint32_t kOnlyField = 1;  // Example.features, Features.feature, *List.value, a map's key
constexpr uint32_t kMapValue = 2;

void AppendVarint(uint64_t value, std::string* out) {
  for (; value > 0x7f; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

// A field of bytes, of a message or of packed numbers.
void AppendField(uint32_t number, std::string_view contents, std::string* out) {
  AppendVarint(number << 3 | 2, out);
  AppendVarint(contents.size(), out);
  *out += contents;
}

// --- JSON to features ---

class FeatureReader {
 public:
  FeatureReader(std::string_view name, const char* end) : name_(name), end_(end) {}

  std::optional<RequestError> Read(const char* value) {
    if (*value != '[') return AddElement(value);
    ArrayElements elements(value, end_);
    while (elements.Next()) {
      if (auto error = AddElement(elements.value())) return error;
    }
    return std::nullopt;
  }

  // The Feature message.
  std::string Take() const {
    std::string feature;
    if (kind_ == Kind::kNotSet) return feature;
    std::string list;
    if (kind_ == Kind::kBytes) {
      list = values_;
    } else {
      AppendField(kOnlyField, values_, &list);
    }
    AppendField(static_cast<uint32_t>(kind_), list, &feature);
    return feature;
  }

 private:
  std::optional<RequestError> AddElement(const char* value);
  std::optional<RequestError> AddNumber(const char* value);

  // An error where the feature is of another kind already.
  std::optional<RequestError> Be(Kind kind) {
    if (kind_ != Kind::kNotSet && kind_ != kind) {
      const char* const expected = kind_ == Kind::kBytes   ? "bytes"
                                   : kind_ == Kind::kFloat ? "float"
                                                           : "int64";
      return RequestError{.message = "Unexpected element type in feature: " + std::string(name_) +
                                     " expecting type: " + expected};
    }
    kind_ = kind;
    return std::nullopt;
  }

  RequestError TypeError(const char* value) const {
    return {.message = "Feature: " + std::string(name_) +
                       " has element with unexpected JSON type: " + std::string(TypeOf(value))};
  }

  const std::string_view name_;
  const char* const end_;
  Kind kind_ = Kind::kNotSet;
  // Packed numbers, or the fields of a list of bytes.
  std::string values_;
};

std::optional<RequestError> FeatureReader::AddElement(const char* value) {
  Cursor cursor{value, end_};
  switch (*value) {
    case 'n':
    case '[': return TypeError(value);
    case 't':
    case 'f':
      if (auto error = Be(Kind::kInt64)) return error;
      values_.push_back(*value == 't' ? 1 : 0);
      return std::nullopt;
    case '"': {
      if (auto error = Be(Kind::kBytes)) return error;
      std::string_view contents;
      (void)ReadString(&cursor, &contents);
      std::string bytes;
      AppendUnescaped(contents, &bytes);
      AppendField(kOnlyField, bytes, &values_);
      return std::nullopt;
    }
    case '{': {
      const auto contents = ReadBase64Object(&cursor);
      if (!contents) return TypeError(value);
      if (auto error = Be(Kind::kBytes)) return error;
      std::string text;
      AppendUnescaped(*contents, &text);
      std::string bytes(Base64DecodedMost(text.size()), '\0');
      const auto length = DecodeBase64(text, bytes.data());
      if (!length) return RequestError{.message = "Unable to base64 decode"};
      AppendField(kOnlyField, std::string_view(bytes).substr(0, *length), &values_);
      return std::nullopt;
    }
    default: return AddNumber(value);
  }
}

std::optional<RequestError> FeatureReader::AddNumber(const char* value) {
  Cursor cursor{value, end_};
  NumberText number;
  (void)ReadNumber(&cursor, &number);
  constexpr uint64_t kLeast = uint64_t{1} << 63;
  const auto magnitude = number.integer_only ? number.Magnitude() : std::nullopt;
  // What is too large for 64 bits is a double, as in RapidJSON.
  if (!magnitude || (number.negative && *magnitude > kLeast)) {
    if (auto error = Be(Kind::kFloat)) return error;
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(number.ToDouble()));
    for (int shift = 0; shift < 32; shift += 8) values_.push_back(static_cast<char>(bits >> shift));
    return std::nullopt;
  }
  if (auto error = Be(Kind::kInt64)) return error;
  if (!number.negative && *magnitude >= kLeast) {
    return RequestError{.message = "Feature: " + std::string(name_) +
                                   " has uint64_t element. Only int64_t is supported."};
  }
  AppendVarint(number.negative ? uint64_t{0} - *magnitude : *magnitude, &values_);
  return std::nullopt;
}

// An Example message of an object.
std::optional<RequestError> ReadExample(const char* value, const char* end, std::string* example) {
  if (*value != '{') {
    return RequestError{.message = "Example must be JSON object but got JSON " +
                                   std::string(TypeOf(value))};
  }
  std::string features;
  Members members(value, end);
  while (members.Next()) {
    FeatureReader feature(members.key(), end);
    if (auto error = feature.Read(members.value())) return error;
    std::string entry;
    AppendField(kOnlyField, members.key(), &entry);
    AppendField(kMapValue, feature.Take(), &entry);
    AppendField(kOnlyField, entry, &features);
  }
  example->clear();
  if (!features.empty()) AppendField(kOnlyField, features, example);
  return std::nullopt;
}

}  // namespace

ExamplesBody DecodeExamples(std::string_view body) {
  ExamplesBody result;
  const auto refuse = [&result](RequestError error) {
    result.ok = false;
    result.error = std::move(error);
    return std::move(result);
  };
  Document document;
  const char* signature = nullptr;
  const char* context = nullptr;
  const char* examples = nullptr;
  if (auto error = ReadBody(
          body, &document,
          {{"signature_name", &signature}, {"context", &context}, {"examples", &examples}})) {
    return refuse(std::move(*error));
  }
  const auto format_error = [&](std::string_view what) {
    return refuse(FormatError(document.root, document.end, what));
  };
  if (signature != nullptr) {
    if (auto error = ReadSignatureName(signature, document, &result.signature)) {
      return refuse(std::move(*error));
    }
  }
  if (result.signature.empty()) result.signature = kDefaultSignature;

  std::string prefix;
  if (context != nullptr) {
    if (auto error = ReadExample(context, document.end, &prefix)) return refuse(std::move(*error));
  }
  if (examples == nullptr) {
    return format_error("When method is classify, key 'examples' is expected and was not found");
  }
  if (*examples != '[') return format_error("Expecting 'examples' value to be an list/array");
  const size_t most = std::max(kMaxExampleBytes, 8 * body.size());
  ArrayElements elements(examples, document.end);
  std::string example;
  while (elements.Next()) {
    if (result.examples.size() == kMaxStrings) {
      return refuse(
          {.code = RequestError::Code::kResourceExhausted,
           .message = "The request has more than " + std::to_string(kMaxStrings) + " examples"});
    }
    if (auto error = ReadExample(elements.value(), document.end, &example)) {
      return refuse(std::move(*error));
    }
    std::vector<char>& bytes = result.examples.bytes;
    if (bytes.size() + prefix.size() + example.size() > most) {
      return refuse({.code = RequestError::Code::kResourceExhausted,
                     .message = "The examples with their context take more than " +
                                std::to_string(most) + " bytes"});
    }
    bytes.insert(bytes.end(), prefix.begin(), prefix.end());
    result.examples.Append(example);
  }
  if (result.examples.size() == 0) return format_error("'examples' value is an empty array");
  result.ok = true;
  return result;
}

}  // namespace tenon::codec
