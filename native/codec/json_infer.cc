#include "codec/json_infer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "codec/elements.h"
#include "codec/json_escape.h"
#include "codec/json_predict.h"
#include "codec/json_text.h"
#include "codec/number_reader.h"

namespace tenon::codec {
namespace {

constexpr size_t kMaxDepth = 254;

constexpr std::array<std::pair<std::string_view, DType>, 12> kDatatypes = {{
    {"BOOL", DType::kBool},
    {"UINT8", DType::kUInt8},
    {"UINT16", DType::kUInt16},
    {"UINT32", DType::kUInt32},
    {"UINT64", DType::kUInt64},
    {"INT8", DType::kInt8},
    {"INT16", DType::kInt16},
    {"INT32", DType::kInt32},
    {"INT64", DType::kInt64},
    {"FP32", DType::kFloat32},
    {"FP64", DType::kFloat64},
    {"BYTES", DType::kString},
}};

// One of a few bytes is wrapped by its reader; here it has to fit.
template <typename T>
bool ReadFitting(Cursor* cursor, T* value) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool> && sizeof(T) < sizeof(int32_t)) {
    const char* const start = cursor->at;
    int32_t wide;
    if (!ReadElement(cursor, &wide)) return false;
    *value = static_cast<T>(wide);
    if (wide >= std::numeric_limits<T>::min() && wide <= std::numeric_limits<T>::max()) return true;
    cursor->at = start;
    return false;
  } else {
    return ReadElement(cursor, value);
  }
}

// What stands in place of a "data".
struct Splice {
  const char* start;
  const char* end;
  std::string text;
};

// Reads a body once. Its functions return false for what is no JSON; where and why is looked
// for anew then.
class InferReader {
 public:
  // The text as far as its last '}', behind which nothing of a body can be. It is no part of
  // a number or of white space, so that readers of these need not look for the end.
  InferReader(std::string_view body, InferBody* out) : body_(body), out_(out) {
    const size_t last = body.rfind('}');
    end_ = body.data() + (last == std::string_view::npos ? 0 : last + 1);
  }

  bool Read();
  bool has_too_many_strings() const { return has_too_many_strings_; }

 private:
  template <typename OnMember>
  bool ReadObject(Cursor* cursor, OnMember on_member);
  bool ReadKey(Cursor* cursor, std::string* key);
  bool ReadInputs(Cursor* cursor);
  bool ReadInput(Cursor* cursor);
  bool ReadDatatype(Cursor* cursor, std::optional<DType>* dtype);
  bool ReadData(Cursor* cursor, DType dtype);
  template <typename ReadOne>
  bool ReadLists(Cursor* cursor, ReadOne read_one);
  template <typename T>
  bool ReadNumbers(Cursor* cursor, Elements* elements);
  bool ReadStrings(Cursor* cursor, Elements* elements);
  void Assemble();

  const std::string_view body_;
  const char* end_;
  InferBody* const out_;
  std::vector<Splice> splices_;
  size_t strings_ = 0;
  bool has_too_many_strings_ = false;
};

bool InferReader::Read() {
  Cursor cursor{body_.data(), end_};
  cursor.SkipSpace();
  if (cursor.Peek() != '{') return false;
  const bool is_read = ReadObject(&cursor, [this](std::string_view key, Cursor* value) {
    if (key == "inputs" && value->Peek() == '[') return ReadInputs(value);
    return SkipValue(value) == Fault::kNone;
  });
  if (!is_read) return false;
  Assemble();
  return true;
}

// From '{' to behind '}'. `on_member` reads a value.
template <typename OnMember>
bool InferReader::ReadObject(Cursor* cursor, OnMember on_member) {
  ++cursor->at;
  cursor->SkipSpace();
  if (cursor->Peek() == '}') {
    ++cursor->at;
    return true;
  }
  for (;;) {
    std::string key;
    if (!ReadKey(cursor, &key) || !on_member(key, cursor)) return false;
    cursor->SkipSpace();
    const char next = cursor->Peek();
    if (next != ',' && next != '}') return false;
    ++cursor->at;
    if (next == '}') return true;
    cursor->SkipSpace();
  }
}

// A key and its colon.
bool InferReader::ReadKey(Cursor* cursor, std::string* key) {
  std::string_view contents;
  if (cursor->Peek() != '"' || ReadString(cursor, &contents) != Fault::kNone) return false;
  AppendUnescaped(contents, key);
  cursor->SkipSpace();
  if (cursor->Peek() != ':') return false;
  ++cursor->at;
  cursor->SkipSpace();
  return true;
}

bool InferReader::ReadInputs(Cursor* cursor) {
  ++cursor->at;
  cursor->SkipSpace();
  if (cursor->Peek() == ']') {
    ++cursor->at;
    return true;
  }
  for (;;) {
    const bool is_read =
        cursor->Peek() == '{' ? ReadInput(cursor) : SkipValue(cursor) == Fault::kNone;
    if (!is_read) return false;
    cursor->SkipSpace();
    const char next = cursor->Peek();
    if (next != ',' && next != ']') return false;
    ++cursor->at;
    if (next == ']') return true;
    cursor->SkipSpace();
  }
}

bool InferReader::ReadInput(Cursor* cursor) {
  std::optional<DType> dtype;
  // Where a "data" begins that comes before the "datatype".
  std::vector<const char*> waiting;
  const bool is_read = ReadObject(cursor, [&](std::string_view key, Cursor* value) {
    if (key == "datatype") return ReadDatatype(value, &dtype);
    if (key != "data") return SkipValue(value) == Fault::kNone;
    if (dtype) return ReadData(value, *dtype);
    waiting.push_back(value->at);
    return SkipValue(value) == Fault::kNone;
  });
  if (!is_read) return false;
  for (const char* const start : waiting) {
    Cursor value{start, end_};
    if (dtype) {
      if (!ReadData(&value, *dtype)) return false;
    } else {
      (void)SkipValue(&value);
      splices_.push_back({start, value.at, "null"});
    }
  }
  return true;
}

bool InferReader::ReadDatatype(Cursor* cursor, std::optional<DType>* dtype) {
  const char* const start = cursor->at;
  if (SkipValue(cursor) != Fault::kNone) return false;
  const std::string_view value(start, static_cast<size_t>(cursor->at - start));
  dtype->reset();
  if (value.size() < 2 || value.front() != '"') return true;
  // An escape in it is nobody's habit: it is unknown then, and refused.
  const std::string_view name = value.substr(1, value.size() - 2);
  for (const auto& [known, known_dtype] : kDatatypes) {
    if (known == name) *dtype = known_dtype;
  }
  return true;
}

bool InferReader::ReadData(Cursor* cursor, DType dtype) {
  const char* const start = cursor->at;
  Elements elements(dtype);
  Cursor at = *cursor;
  const auto numbers = [&](auto type) { return ReadNumbers<decltype(type)>(&at, &elements); };
  bool is_read = false;
  if (at.Peek() == '[') {
    switch (dtype) {
      case DType::kFloat32: is_read = numbers(float{}); break;
      case DType::kFloat64: is_read = numbers(double{}); break;
      case DType::kInt8: is_read = numbers(int8_t{}); break;
      case DType::kUInt8: is_read = numbers(uint8_t{}); break;
      case DType::kInt16: is_read = numbers(int16_t{}); break;
      case DType::kUInt16: is_read = numbers(uint16_t{}); break;
      case DType::kInt32: is_read = numbers(int32_t{}); break;
      case DType::kUInt32: is_read = numbers(uint32_t{}); break;
      case DType::kInt64: is_read = numbers(int64_t{}); break;
      case DType::kUInt64: is_read = numbers(uint64_t{}); break;
      case DType::kBool: is_read = numbers(bool{}); break;
      default: is_read = ReadStrings(&at, &elements); break;
    }
  }
  if (has_too_many_strings_) return false;
  if (is_read) {
    *cursor = at;
    splices_.push_back({start, at.at, std::to_string(out_->tensors.size())});
    const auto count = static_cast<int64_t>(elements.count());
    out_->tensors.push_back(elements.Take({count}));
    return true;
  }
  // JSON all the same?
  if (SkipValue(cursor) != Fault::kNone) return false;
  std::string shown = "\"";
  AppendEscaped(Show(at.at, end_), &shown);
  splices_.push_back({start, cursor->at, shown + '"'});
  return true;
}

// Calls `read_one` where an element has to be, from the first '[' to behind its ']'.
// Where it is false the cursor is at what is no element, or at a fault.
template <typename ReadOne>
bool InferReader::ReadLists(Cursor* cursor, ReadOne read_one) {
  size_t depth = 0;
  for (;;) {
    // A value begins here.
    if (cursor->Peek() == '[') {
      if (depth == kMaxDepth) return false;
      ++depth;
      ++cursor->at;
      cursor->SkipSpace();
      if (cursor->Peek() != ']') continue;
    } else {
      if (!read_one(cursor)) return false;
      cursor->SkipSpace();
    }
    // One has ended, and with it perhaps lists that it is in.
    while (cursor->Peek() == ']') {
      ++cursor->at;
      if (--depth == 0) return true;
      cursor->SkipSpace();
    }
    if (cursor->Peek() != ',') return false;
    ++cursor->at;
    cursor->SkipSpace();
  }
}

template <typename T>
bool InferReader::ReadNumbers(Cursor* cursor, Elements* elements) {
  const char* const start = cursor->at;
  const auto room = [&] {
    return elements->Room<T>(static_cast<size_t>(cursor->end - cursor->at),
                             static_cast<size_t>(cursor->at - start));
  };
  std::span<T> places = room();
  size_t written = 0;
  const bool is_read = ReadLists(cursor, [&](Cursor* given) {
    // Elements that follow each other without a bracket between them, in registers.
    Cursor at = *given;
    for (;;) {
      T value;
      if (!ReadFitting(&at, &value)) break;
      if (written == places.size()) [[unlikely]] {
        elements->Add(written);
        written = 0;
        *given = at;
        places = room();
      }
      places[written++] = value;
      // Behind it, or at the element that follows.
      *given = at;
      if (static_cast<unsigned char>(*at.at) <= ' ') at.SkipSpace();
      if (*at.at != ',') return true;
      ++at.at;
      if (*at.at == ' ') ++at.at;
      if (static_cast<unsigned char>(*at.at) <= ' ') at.SkipSpace();
      if (*at.at == '[') return true;
    }
    *given = at;
    return false;
  });
  elements->Add(written);
  return is_read;
}

bool InferReader::ReadStrings(Cursor* cursor, Elements* elements) {
  StringTable& strings = elements->strings();
  return ReadLists(cursor, [&](Cursor* at) {
    const char* const start = at->at;
    std::string_view contents;
    if (at->Peek() != '"' || ReadString(at, &contents) != Fault::kNone) {
      at->at = start;
      return false;
    }
    if (++strings_ > kMaxStrings) {
      has_too_many_strings_ = true;
      return false;
    }
    AppendUnescaped(contents, &strings.bytes);
    strings.offsets.push_back(strings.bytes.size());
    return true;
  });
}

void InferReader::Assemble() {
  std::sort(splices_.begin(), splices_.end(),
            [](const Splice& a, const Splice& b) { return a.start < b.start; });
  const char* at = body_.data();
  for (const Splice& splice : splices_) {
    out_->text.append(at, splice.start);
    out_->text += splice.text;
    at = splice.end;
  }
  out_->text.append(at, body_.data() + body_.size());
}

}  // namespace

InferBody DecodeInfer(std::string_view body) {
  InferBody decoded;
  InferReader reader(body, &decoded);
  if (!reader.Read()) {
    decoded.tensors.clear();
    if (reader.has_too_many_strings()) {
      decoded.error = {
          .code = RequestError::Code::kResourceExhausted,
          .message = "The request has more than " + std::to_string(kMaxStrings) + " strings"};
      return decoded;
    }
    Document document;
    if (auto error = CheckDocument(body, &document)) {
      decoded.error = std::move(*error);
      return decoded;
    }
    // No object, or one that RapidJSON takes: who parses it says so.
    decoded.text = body.substr(0, kMaxInferText + 1);
  }
  if (decoded.text.size() > kMaxInferText) {
    decoded.tensors.clear();
    decoded.error.message = "expected at most " + std::to_string(kMaxInferText) +
                            " bytes of JSON beside the elements of inputs, received more";
    return decoded;
  }
  decoded.ok = true;
  return decoded;
}

}  // namespace tenon::codec
