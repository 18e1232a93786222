#include "codec/json_text.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "codec/decimal.h"
#include "codec/json_escape.h"

namespace tenon::codec {
namespace {

// Beyond what any exponent does to a double, however many digits there are.
constexpr int64_t kMaxExponent = int64_t{1} << 40;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view FaultText(Fault fault) {
  switch (fault) {
    case Fault::kNone: return "No error.";
    case Fault::kDocumentEmpty: return "The document is empty.";
    case Fault::kValueInvalid: return "Invalid value.";
    case Fault::kObjectMissName: return "Missing a name for object member.";
    case Fault::kObjectMissColon: return "Missing a colon after a name of object member.";
    case Fault::kObjectMissCommaOrBracket: return "Missing a comma or '}' after an object member.";
    case Fault::kArrayMissCommaOrBracket: return "Missing a comma or ']' after an array element.";
    case Fault::kStringHexInvalid: return "Incorrect hex digit after \\u escape in string.";
    case Fault::kStringSurrogateInvalid: return "The surrogate pair in string is invalid.";
    case Fault::kStringEscapeInvalid: return "Invalid escape character in string.";
    case Fault::kStringMissQuote: return "Missing a closing quotation mark in string.";
    case Fault::kNumberTooBig: return "Number too big to be stored in double.";
    case Fault::kNumberMissFraction: return "Miss fraction part in number.";
    case Fault::kNumberMissExponent: return "Miss exponent in number.";
  }
  return "Unknown error.";
}

// What is inside what: a bit for each level, 1 for an object.
class Nesting {
 public:
  bool empty() const { return depth_ == 0; }
  bool in_object() const { return ((words_[(depth_ - 1) / 64] >> ((depth_ - 1) % 64)) & 1) != 0; }
  void Push(bool object) {
    const size_t word = depth_ / 64;
    if (word == words_.size()) words_.push_back(0);
    const uint64_t bit = uint64_t{1} << (depth_ % 64);
    words_[word] = object ? words_[word] | bit : words_[word] & ~bit;
    ++depth_;
  }
  void Pop() { --depth_; }

 private:
  std::vector<uint64_t> words_;
  size_t depth_ = 0;
};

bool Consume(Cursor* cursor, std::string_view rest) {
  for (const char c : rest) {
    if (cursor->Peek() != c) return false;
    ++cursor->at;
  }
  return true;
}

// Four hexadecimal digits, or nothing.
std::optional<uint32_t> ReadHex4(Cursor* cursor) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = cursor->Peek();
    uint32_t digit = 0;
    if (IsDigit(c)) {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint32_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
    value = value << 4 | digit;
    ++cursor->at;
  }
  return value;
}

bool IsHighSurrogate(uint32_t unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool IsLowSurrogate(uint32_t unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// What a one-letter escape stands for; 0 for what is none.
char UnescapedLetter(char letter) {
  switch (letter) {
    case '"':
    case '\\':
    case '/': return letter;
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return '\0';
  }
}

// Behind the backslash at `start`.
Fault ReadEscape(Cursor* cursor, const char* start) {
  const auto fail = [&](Fault fault) {
    cursor->at = start;
    return fault;
  };
  const char letter = cursor->Peek();
  if (UnescapedLetter(letter) != '\0') {
    ++cursor->at;
    return Fault::kNone;
  }
  if (letter != 'u') return fail(Fault::kStringEscapeInvalid);
  ++cursor->at;
  const auto unit = ReadHex4(cursor);
  if (!unit) return fail(Fault::kStringHexInvalid);
  // One that is low and alone passes, as in RapidJSON.
  if (!IsHighSurrogate(*unit)) return Fault::kNone;
  if (!Consume(cursor, "\\u")) return fail(Fault::kStringSurrogateInvalid);
  const auto low = ReadHex4(cursor);
  if (!low) return fail(Fault::kStringHexInvalid);
  return IsLowSurrogate(*low) ? Fault::kNone : fail(Fault::kStringSurrogateInvalid);
}

template <typename Bytes>
void AppendUtf8(uint32_t code, Bytes* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code <= 0x7f) {
    put(code);
  } else if (code <= 0x7ff) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code <= 0xffff) {
    put(0xe0 | code >> 12);
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | ((code >> 12) & 0x3f));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

// Past bytes of a string that stand for themselves, eight at a time.
void SkipPlain(Cursor* cursor) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHighs = 0x8080808080808080;
  const auto has_zero = [](uint64_t bytes) { return (bytes - kOnes) & ~bytes & kHighs; };
  while (cursor->end - cursor->at >= 8) {
    uint64_t bytes;
    std::memcpy(&bytes, cursor->at, 8);
    const uint64_t control = (bytes - kOnes * 0x20) & ~bytes & kHighs;
    if ((control | has_zero(bytes ^ kOnes * '"') | has_zero(bytes ^ kOnes * '\\')) != 0) break;
    cursor->at += 8;
  }
  while (cursor->at != cursor->end) {
    const char c = *cursor->at;
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) return;
    ++cursor->at;
  }
}

Fault ReadLiteral(Cursor* cursor, std::string_view literal) {
  return Consume(cursor, literal) ? Fault::kNone : Fault::kValueInvalid;
}

// A value that has no others in it.
Fault SkipScalar(Cursor* cursor) {
  switch (cursor->Peek()) {
    case 'n': return ReadLiteral(cursor, "null");
    case 't': return ReadLiteral(cursor, "true");
    case 'f': return ReadLiteral(cursor, "false");
    case '"': {
      std::string_view contents;
      return ReadString(cursor, &contents);
    }
    default: {
      NumberText number;
      return ReadNumber(cursor, &number);
    }
  }
}

// RapidJSON refuses integers with more digits than a double has. Those with 309 it
// refuses where the first 308 are more than a tenth of the largest double.
bool IsTooLong(std::string_view integer) {
  if (integer.size() < 309) return false;
  if (integer.size() > 309) return true;
  return NearestDoubleExactly(integer.substr(0, 308), "", 0) >= 1.7976931348623157e307;
}

}  // namespace

double NumberText::ToDouble() const {
  if (kind == Kind::kNaN) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude = kind == Kind::kInfinity
                               ? std::numeric_limits<double>::infinity()
                               : NearestDoubleExactly(integer, fraction, exponent);
  return negative ? -magnitude : magnitude;
}

std::optional<uint64_t> NumberText::Magnitude() const {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(integer.data(), integer.data() + integer.size(), value);
  if (error != std::errc() || end != integer.data() + integer.size()) return std::nullopt;
  return value;
}

Fault ReadNumber(Cursor* cursor, NumberText* number) {
  const char* const start = cursor->at;
  number->negative = cursor->Peek() == '-';
  if (number->negative) ++cursor->at;
  const auto digits = [cursor] {
    const char* const first = cursor->at;
    while (IsDigit(cursor->Peek())) ++cursor->at;
    return std::string_view(first, static_cast<size_t>(cursor->at - first));
  };
  if (cursor->Peek() == '0') {
    number->integer = {cursor->at++, 1};
  } else if (IsDigit(cursor->Peek())) {
    number->integer = digits();
    if (IsTooLong(number->integer)) {
      cursor->at = start;
      return Fault::kNumberTooBig;
    }
  } else if (cursor->Peek() == 'N') {
    number->kind = NumberText::Kind::kNaN;
    number->integer_only = false;
    return ReadLiteral(cursor, "NaN");
  } else if (cursor->Peek() == 'I') {
    number->kind = NumberText::Kind::kInfinity;
    number->integer_only = false;
    if (!Consume(cursor, "Inf")) return Fault::kValueInvalid;
    return cursor->Peek() == 'i' ? ReadLiteral(cursor, "inity") : Fault::kNone;
  } else {
    return Fault::kValueInvalid;
  }

  if (cursor->Peek() == '.') {
    ++cursor->at;
    number->integer_only = false;
    number->fraction = digits();
    if (number->fraction.empty()) return Fault::kNumberMissFraction;
  }
  if (cursor->Peek() != 'e' && cursor->Peek() != 'E') return Fault::kNone;
  ++cursor->at;
  number->integer_only = false;
  const bool minus = cursor->Peek() == '-';
  if (minus || cursor->Peek() == '+') ++cursor->at;
  const std::string_view exponent = digits();
  if (exponent.empty()) return Fault::kNumberMissExponent;
  for (const char digit : exponent) {
    number->exponent = std::min(number->exponent * 10 + (digit - '0'), kMaxExponent);
  }
  if (minus) {
    number->exponent = -number->exponent;
  } else if (number->exponent > 308 + static_cast<int64_t>(number->fraction.size())) {
    cursor->at = start;
    return Fault::kNumberTooBig;
  }
  return Fault::kNone;
}

Fault ReadString(Cursor* cursor, std::string_view* contents) {
  const char* const start = ++cursor->at;
  for (;;) {
    SkipPlain(cursor);
    const char c = cursor->Peek();
    if (c == '"') {
      *contents = {start, static_cast<size_t>(cursor->at - start)};
      ++cursor->at;
      return Fault::kNone;
    }
    if (c != '\\') return c == '\0' ? Fault::kStringMissQuote : Fault::kStringEscapeInvalid;
    const char* const escape = cursor->at++;
    const Fault fault = ReadEscape(cursor, escape);
    if (fault != Fault::kNone) return fault;
  }
}

Fault SkipValue(Cursor* cursor) {
  Nesting nesting;
  for (;;) {
    // A value begins here.
    const char c = cursor->Peek();
    bool ended = true;
    if (c == '{' || c == '[') {
      ++cursor->at;
      cursor->SkipSpace();
      if (cursor->Peek() == (c == '{' ? '}' : ']')) {
        ++cursor->at;
      } else {
        nesting.Push(c == '{');
        ended = false;
      }
    } else {
      const Fault fault = SkipScalar(cursor);
      if (fault != Fault::kNone) return fault;
    }
    // One has ended, and with it perhaps those it is in.
    while (ended) {
      if (nesting.empty()) return Fault::kNone;
      cursor->SkipSpace();
      const bool object = nesting.in_object();
      const char next = cursor->Peek();
      if (next == (object ? '}' : ']')) {
        ++cursor->at;
        nesting.Pop();
      } else if (next == ',') {
        ++cursor->at;
        cursor->SkipSpace();
        ended = false;
      } else {
        return object ? Fault::kObjectMissCommaOrBracket : Fault::kArrayMissCommaOrBracket;
      }
    }
    if (!nesting.in_object()) continue;
    if (cursor->Peek() != '"') return Fault::kObjectMissName;
    std::string_view key;
    const Fault fault = ReadString(cursor, &key);
    if (fault != Fault::kNone) return fault;
    cursor->SkipSpace();
    if (cursor->Peek() != ':') return Fault::kObjectMissColon;
    ++cursor->at;
    cursor->SkipSpace();
  }
}

template <typename Bytes>
void AppendUnescaped(std::string_view contents, Bytes* out) {
  Cursor cursor{contents.data(), contents.data() + contents.size()};
  while (cursor.at != cursor.end) {
    const auto* const escape = static_cast<const char*>(
        std::memchr(cursor.at, '\\', static_cast<size_t>(cursor.end - cursor.at)));
    const char* const plain_end = escape == nullptr ? cursor.end : escape;
    out->insert(out->end(), cursor.at, plain_end);
    if (escape == nullptr) return;
    cursor.at = escape + 1;
    const char letter = *cursor.at++;
    if (letter != 'u') {
      out->push_back(UnescapedLetter(letter));
      continue;
    }
    uint32_t code = *ReadHex4(&cursor);
    if (IsHighSurrogate(code)) {
      cursor.at += 2;
      code = 0x10000 + ((code - 0xd800) << 10 | (*ReadHex4(&cursor) - 0xdc00));
    }
    AppendUtf8(code, out);
  }
}

template void AppendUnescaped(std::string_view, std::string*);
template void AppendUnescaped(std::string_view, std::vector<char>*);

std::optional<std::string_view> ReadBase64Object(Cursor* cursor) {
  Cursor inside = *cursor;
  if (inside.Peek() != '{') return std::nullopt;
  ++inside.at;
  inside.SkipSpace();
  std::string_view key;
  if (inside.Peek() != '"' || ReadString(&inside, &key) != Fault::kNone) return std::nullopt;
  if (key != "b64") {
    if (key.find('\\') == std::string_view::npos) return std::nullopt;
    std::string plain;
    AppendUnescaped(key, &plain);
    if (plain != "b64") return std::nullopt;
  }
  inside.SkipSpace();
  if (inside.Peek() != ':') return std::nullopt;
  ++inside.at;
  inside.SkipSpace();
  std::string_view contents;
  if (inside.Peek() != '"' || ReadString(&inside, &contents) != Fault::kNone) return std::nullopt;
  inside.SkipSpace();
  if (inside.Peek() != '}') return std::nullopt;
  cursor->at = inside.at + 1;
  return contents;
}

std::optional<RequestError> CheckDocument(std::string_view text, Document* document) {
  if (text.empty()) {
    return RequestError{.message = "JSON Parse error: The document is empty"};
  }
  Cursor cursor{text.data(), text.data() + text.size()};
  // RapidJSON takes each byte of a byte order mark that is there.
  for (const char mark : {'\xef', '\xbb', '\xbf'}) {
    if (cursor.Peek() == mark) ++cursor.at;
  }
  cursor.SkipSpace();
  document->root = cursor.at;
  const char first = cursor.Peek();
  const Fault fault = first == '\0' || first == ']' || first == '}' || first == ',' || first == ':'
                          ? Fault::kDocumentEmpty
                          : SkipValue(&cursor);
  if (fault != Fault::kNone) {
    return RequestError{.message = "JSON Parse error: " + std::string(FaultText(fault)) +
                                   " at offset: " + std::to_string(cursor.at - text.data())};
  }
  document->end = cursor.at;
  return std::nullopt;
}

namespace {

// Behind the value that was given last, if any, and the comma after it.
void SkipToNext(const char* value, Cursor* cursor) {
  if (value != nullptr) {
    cursor->at = value;
    (void)SkipValue(cursor);
    cursor->SkipSpace();
    if (cursor->Peek() == ',') ++cursor->at;
  }
  cursor->SkipSpace();
}

}  // namespace

Members::Members(const char* object, const char* end) : cursor_{object + 1, end} {}

bool Members::Next() {
  SkipToNext(value_, &cursor_);
  if (cursor_.Peek() != '"') return false;
  std::string_view contents;
  (void)ReadString(&cursor_, &contents);
  key_.clear();
  AppendUnescaped(contents, &key_);
  cursor_.SkipSpace();
  ++cursor_.at;  // the colon
  cursor_.SkipSpace();
  value_ = cursor_.at;
  return true;
}

ArrayElements::ArrayElements(const char* array, const char* end) : cursor_{array + 1, end} {}

bool ArrayElements::Next() {
  SkipToNext(value_, &cursor_);
  if (cursor_.Peek() == ']') return false;
  value_ = cursor_.at;
  return true;
}

std::string_view TypeOf(const char* value) {
  switch (*value) {
    case 'n': return "Null";
    case 'f': return "False";
    case 't': return "True";
    case '{': return "Object";
    case '[': return "Array";
    case '"': return "String";
    default: return "Number";
  }
}

namespace {

// What TensorFlow Serving bounds its errors' values by (it looks only between two
// values, so that a string could still be as long as the request).
constexpr size_t kShownBytes = 256;

class Shown {
 public:
  explicit Shown(const char* end) : end_(end) {}

  // False once there is enough. The text is well-formed; every level of nesting
  // writes a byte at least, so that there are no more than kShownBytes of them.
  bool Add(const char* value, size_t depth) {
    if (out_.size() >= kShownBytes) return false;
    switch (*value) {
      case 'n': return AddText("null");
      case 't': return AddText("true");
      case 'f': return AddText("false");
      case '"': return AddString(value);
      case '[': return AddArray(value, depth);
      case '{': return AddObject(value, depth);
      default: return AddNumber(value);
    }
  }

  std::string Take() {
    if (out_.size() <= kShownBytes) return std::move(out_);
    // Not in the middle of a character.
    size_t length = kShownBytes;
    while (length > kShownBytes - 4 && (static_cast<uint8_t>(out_[length]) & 0xc0) == 0x80) {
      --length;
    }
    out_.resize(length);
    return std::move(out_);
  }

 private:
  bool AddText(std::string_view text) {
    out_ += text;
    return true;
  }

  bool AddString(const char* value) {
    Cursor cursor{value, end_};
    std::string_view contents;
    (void)ReadString(&cursor, &contents);
    std::string plain;
    // An escape is six bytes for at least one, so this is enough for what is shown.
    AppendUnescaped(FirstOf(contents), &plain);
    out_.push_back('"');
    AppendEscaped(plain, &out_);
    out_.push_back('"');
    return out_.size() <= kShownBytes;
  }

  // The beginning of a long string, not cut within an escape.
  static std::string_view FirstOf(std::string_view contents) {
    constexpr size_t kEnough = 12 * kShownBytes;
    if (contents.size() <= kEnough) return contents;
    Cursor cursor{contents.data(), contents.data() + contents.size()};
    while (static_cast<size_t>(cursor.at - contents.data()) < kEnough) {
      const char* const start = cursor.at++;
      if (*start == '\\') (void)ReadEscape(&cursor, start);
    }
    return contents.substr(0, static_cast<size_t>(cursor.at - contents.data()));
  }

  bool AddArray(const char* value, size_t depth) {
    out_.push_back('[');
    ArrayElements elements(value, end_);
    for (bool first = true; elements.Next(); first = false) {
      if (out_.size() >= kShownBytes) return false;
      if (!first) out_ += ", ";
      if (!Add(elements.value(), depth + 1)) return false;
    }
    return Close(']');
  }

  bool AddObject(const char* value, size_t depth) {
    out_.push_back('{');
    Members members(value, end_);
    bool first = true;
    for (; members.Next(); first = false) {
      if (out_.size() >= kShownBytes) return false;
      out_ += first ? "\n" : ",\n";
      out_.append(4 * (depth + 1), ' ');
      out_.push_back('"');
      AppendEscaped(std::string_view(members.key()).substr(0, kShownBytes), &out_);
      out_.push_back('"');
      if (out_.size() >= kShownBytes) return false;
      out_ += ": ";
      if (!Add(members.value(), depth + 1)) return false;
    }
    if (out_.size() >= kShownBytes) return false;
    if (!first) {
      out_.push_back('\n');
      out_.append(4 * depth, ' ');
    }
    return Close('}');
  }

  bool Close(char bracket) {
    if (out_.size() >= kShownBytes) return false;
    out_.push_back(bracket);
    return true;
  }

  bool AddNumber(const char* value) {
    Cursor cursor{value, end_};
    NumberText number;
    (void)ReadNumber(&cursor, &number);
    const auto magnitude = number.integer_only ? number.Magnitude() : std::nullopt;
    constexpr uint64_t kLeast = uint64_t{1} << 63;
    if (magnitude && (!number.negative || *magnitude <= kLeast)) {
      if (number.negative && *magnitude > 0) out_.push_back('-');
      out_ += std::to_string(*magnitude);
      return true;
    }
    const double decimal = number.ToDouble();
    // RapidJSON writes nothing for what is not finite, and stops.
    if (!std::isfinite(decimal)) return false;
    AddDouble(decimal);
    return true;
  }

  // As RapidJSON writes doubles: the shortest digits that are the number, with a
  // point, up to 21 places before and 6 behind it, else with an exponent.
  void AddDouble(double number) {
    if (std::signbit(number)) out_.push_back('-');
    char text[64];
    const auto end =
        std::to_chars(text, text + sizeof text, std::fabs(number), std::chars_format::scientific)
            .ptr;
    std::string digits;
    const char* at = text;
    for (; *at != 'e'; ++at) {
      if (*at != '.') digits.push_back(*at);
    }
    int exponent = 0;
    std::from_chars(at[1] == '+' ? at + 2 : at + 1, end, exponent);
    const int before = number == 0 ? 1 : exponent + 1;
    const int count = static_cast<int>(digits.size());
    if (before >= count && before <= 21) {
      out_ += digits + std::string(static_cast<size_t>(before - count), '0') + ".0";
    } else if (before > 0 && before <= 21) {
      out_ += digits.insert(static_cast<size_t>(before), 1, '.');
    } else if (before > -6 && before <= 0) {
      out_ += "0." + std::string(static_cast<size_t>(-before), '0') + digits;
    } else {
      if (count > 1) digits.insert(1, 1, '.');
      out_ += digits + "e" + std::to_string(before - 1);
    }
  }

  const char* const end_;
  std::string out_;
};

}  // namespace

std::string Show(const char* value, const char* end) {
  Shown shown(end);
  (void)shown.Add(value, 0);
  return shown.Take();
}

RequestError FormatError(const char* value, const char* end, std::string_view what) {
  return {.message = "JSON Value: " + Show(value, end) + " " + std::string(what)};
}

std::optional<RequestError> ReadBody(std::string_view body, Document* document,
                                     std::initializer_list<BodyMember> members) {
  if (auto error = CheckDocument(body, document)) return error;
  if (*document->root != '{') return FormatError(document->root, document->end, "Is not object");
  Members found(document->root, document->end);
  while (found.Next()) {
    for (const auto& [name, value] : members) {
      if (*value == nullptr && name == found.key()) *value = found.value();
    }
  }
  return std::nullopt;
}

std::optional<RequestError> ReadSignatureName(const char* value, const Document& document,
                                              std::string* name) {
  if (*value != '"') {
    return FormatError(document.root, document.end,
                       "not formatted correctly. 'signature_name' key must be a string value.");
  }
  Cursor cursor{value, document.end};
  std::string_view contents;
  (void)ReadString(&cursor, &contents);
  AppendUnescaped(contents, name);
  return std::nullopt;
}

}  // namespace tenon::codec
