#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/request_error.h"

// JSON as TensorFlow Serving reads it, which is as RapidJSON does: NaN and Infinity
// are numbers, a NUL is the end, bytes need not be UTF-8, and nothing behind the
// root is looked at. Nothing here recurses by more than a bound.

namespace tenon::codec {

// What a text fails at, RapidJSON's errors.
enum class Fault : uint8_t {
  kNone,
  kDocumentEmpty,
  kValueInvalid,
  kObjectMissName,
  kObjectMissColon,
  kObjectMissCommaOrBracket,
  kArrayMissCommaOrBracket,
  kStringHexInvalid,
  kStringSurrogateInvalid,
  kStringEscapeInvalid,
  kStringMissQuote,
  kNumberTooBig,
  kNumberMissFraction,
  kNumberMissExponent,
};

// A position that stays before `end`, which may be the end of the text.
struct Cursor {
  const char* at;
  const char* end;

  // RapidJSON's streams end with a NUL.
  char Peek() const { return at == end ? '\0' : *at; }
  void SkipSpace() {
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  }
};

// The parts of a number, as they are written.
struct NumberText {
  enum class Kind : uint8_t { kDecimal, kNaN, kInfinity };
  Kind kind = Kind::kDecimal;
  bool negative = false;
  // With neither fraction nor exponent.
  bool integer_only = true;
  std::string_view integer;
  std::string_view fraction;
  int64_t exponent = 0;

  // Correctly rounded; ±infinity where it is too large.
  double ToDouble() const;
  // The magnitude of an integer, where it fits.
  std::optional<uint64_t> Magnitude() const;
};

// The following read what begins at `cursor->at` and leave the cursor behind it, or
// where the fault is.

Fault ReadNumber(Cursor* cursor, NumberText* number);
// `contents` is what is between the quotes, escapes and all.
Fault ReadString(Cursor* cursor, std::string_view* contents);
// Any value. Of containers, however deep, it keeps a bit for each level.
Fault SkipValue(Cursor* cursor);

// The bytes a string's contents, read before, stand for: appended to `out`, a string
// or a vector of char.
template <typename Bytes>
void AppendUnescaped(std::string_view contents, Bytes* out);

// Whether the value is an object with the one member "b64", a string, and that
// string's contents. The cursor moves behind the object only if so.
std::optional<std::string_view> ReadBase64Object(Cursor* cursor);

// --- Texts known to be well-formed ---

// Checks the whole text and finds its root.
struct Document {
  const char* root = nullptr;
  // Behind the root.
  const char* end = nullptr;
};
std::optional<RequestError> CheckDocument(std::string_view text, Document* document);

// The members of an object, in order.
class Members {
 public:
  // `object` points to '{'.
  Members(const char* object, const char* end);
  // False behind the last.
  bool Next();
  const std::string& key() const { return key_; }
  const char* value() const { return value_; }

 private:
  Cursor cursor_;
  std::string key_;
  const char* value_ = nullptr;
};

// The elements of an array, in order.
class ArrayElements {
 public:
  // `array` points to '['.
  ArrayElements(const char* array, const char* end);
  bool Next();
  const char* value() const { return value_; }

 private:
  Cursor cursor_;
  const char* value_ = nullptr;
};

// "Null", "False", "True", "Object", "Array", "String" or "Number".
std::string_view TypeOf(const char* value);

// A value as TensorFlow Serving shows it in an error: on one line but for objects,
// and no further than the first 256 bytes.
std::string Show(const char* value, const char* end);

RequestError FormatError(const char* value, const char* end, std::string_view what);

// --- Bodies ---

// A member that a body may have: its name, and where its value is to be noted.
using BodyMember = std::pair<std::string_view, const char**>;

// Checks the whole body, an object, and finds members, of several with one name the
// first. What it does not have is left as it is.
std::optional<RequestError> ReadBody(std::string_view body, Document* document,
                                     std::initializer_list<BodyMember> members);

// The value of "signature_name", appended to `name`.
std::optional<RequestError> ReadSignatureName(const char* value, const Document& document,
                                              std::string* name);

}  // namespace tenon::codec
