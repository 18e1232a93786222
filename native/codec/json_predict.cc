#include "codec/json_predict.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>

#include "codec/base64.h"
#include "codec/elements.h"
#include "codec/json_text.h"
#include "codec/number_reader.h"

namespace tenon::codec {
namespace {

// TensorFlow's tensors have no more dimensions.
constexpr size_t kMaxRank = 254;
constexpr int64_t kUnknown = -1;

// The text as far as its last '}', behind which nothing of a body can be. It is no part of
// a number or of white space, so that readers of these need not look for the end; who
// has read a '}' must.
Cursor UpToLastBrace(std::string_view text) {
  const size_t last = text.rfind('}');
  return {text.data(), text.data() + (last == std::string_view::npos ? 0 : last + 1)};
}

void SkipSpace(Cursor* cursor) {
  while (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\r' || *cursor->at == '\t') {
    ++cursor->at;
  }
}

bool Take(Cursor* cursor, char c) {
  if (*cursor->at != c) return false;
  ++cursor->at;
  return true;
}

// Whether the last '}' was read, though more of the body should follow.
bool IsCutOff(const Cursor& cursor) { return cursor.at == cursor.end; }

// A signature's input while the body is read.
struct Input {
  Input(const InputSpec& input_spec) : spec(&input_spec), elements(input_spec.dtype) {}  // NOLINT

  const InputSpec* spec;
  Elements elements;
  // The shape of each instance, or of the whole tensor, once the first is there.
  std::optional<Shape> shape;
  size_t instance_count = 0;  // elements of an instance
  const char* start = nullptr;
  // The instance it was last in, counted from 1.
  size_t seen_in = 0;
};

// Reads what is behind "instances" or "inputs".
class TensorReader {
 public:
  // Where something is wrong its functions return false. `explains` is for a text that is
  // known to be well-formed: there is an error then.
  TensorReader(const std::vector<InputSpec>& specs, bool explains)
      : explains_(explains), inputs_(specs.begin(), specs.end()) {}

  // What the cursor is at.
  bool Read(BodyForm form, Cursor* cursor) {
    form_ = form;
    return form == BodyForm::kRow ? ReadInstances(cursor) : ReadInputs(cursor);
  }

  std::vector<std::pair<size_t, Tensor>> TakeFeeds();
  RequestError TakeError() { return std::move(error_); }

 private:
  // Whether the last list of a run has ended, a value came that is no element, or neither a
  // comma nor the end of the list.
  enum class Run { kClosed, kStopped, kBroken };
  // The lists of a run: one, and further ones beside it if they all have as many elements
  // as are expected.
  struct Lists {
    size_t expected = 0;  // none
    size_t complete = 0;  // before the last
    size_t count = 0;     // elements of the last
  };

  bool ReadInstances(Cursor* cursor);
  bool ReadInputs(Cursor* cursor);
  bool ReadPlainInstances(Cursor* cursor);
  bool ReadNamedInstances(Cursor* cursor);
  bool ReadNamedInstance(Cursor* cursor);
  bool ReadInstance(Cursor* cursor, Input* input);
  bool ReadTensor(Cursor* cursor, Input* input);
  bool ReadLists(Cursor* cursor, Input* input, size_t level, bool rank_known);
  bool CloseList(const Cursor* cursor, size_t level);

  Run ReadRun(Cursor* cursor, Input* input, Lists* lists);
  template <typename T>
  Run ReadRunOf(Cursor* cursor, Input* input, Lists* lists);
  Run ReadRunOfStrings(Cursor* cursor, Input* input, Lists* lists);
  bool ReadOne(Cursor* cursor, Input* input);
  bool ReadOneString(Cursor* cursor, Input* input);
  template <typename Use>
  auto WithCType(DType dtype, Use use);

  Input* Find(std::string_view name, size_t hint);
  bool ReadKey(Cursor* cursor, std::string_view* key);

  // Errors. Each returns false, for its caller to do so.
  bool Refuse(RequestError error);
  bool RefuseFormat(const Cursor& value, std::string_view what);
  bool RefuseElement(const Cursor& value, const Input& input);
  bool RefuseInTensor(const Cursor& value, size_t open, RequestError error);
  RequestError SizeError(size_t level, int64_t size) const;
  bool RefuseInstance(std::string_view key);
  bool RefuseKeys(const char* object, const char* end);

  const bool explains_;
  BodyForm form_ = BodyForm::kRow;
  RequestError error_;
  std::vector<Input> inputs_;
  size_t instances_ = 0;
  size_t string_count_ = 0;  // of all inputs

  // Of the tensor that is read: the sizes of its lists, by their level, as far as the
  // first list of each has ended, and how many elements those that are open have had.
  std::array<int64_t, kMaxRank> sizes_;
  std::array<int64_t, kMaxRank> counts_;
  size_t rank_ = 0;
  // An unescaped key.
  std::string key_;
};

// --- Elements ---

template <typename Use>
auto TensorReader::WithCType(DType dtype, Use use) {
  switch (dtype) {
    case DType::kFloat32: return use(float{});
    case DType::kFloat64: return use(double{});
    case DType::kInt8: return use(int8_t{});
    case DType::kUInt8: return use(uint8_t{});
    case DType::kInt16: return use(int16_t{});
    case DType::kInt32: return use(int32_t{});
    case DType::kUInt32: return use(uint32_t{});
    case DType::kInt64: return use(int64_t{});
    case DType::kUInt64: return use(uint64_t{});
    case DType::kBool: return use(bool{});
    default: return use(nullptr);
  }
}

template <typename T>
TensorReader::Run TensorReader::ReadRunOf(Cursor* cursor, Input* input, Lists* lists) {
  // In registers.
  Cursor at = *cursor;
  Elements& elements = input->elements;
  const auto room = [&] {
    return elements.Room<T>(static_cast<size_t>(at.end - at.at),
                            static_cast<size_t>(at.at - input->start));
  };
  std::span<T> places = room();
  size_t written = 0;
  size_t first = 0;  // of the list, as an offset into the places; behind zero for one begun earlier
  size_t complete = 0;
  Run run = Run::kStopped;
  for (;;) {
    if (written == places.size()) [[unlikely]] {
      elements.Add(written);
      first -= written;
      written = 0;
      places = room();
    }
    T value;
    if (!ReadElement(&at, &value)) break;
    places[written++] = value;
    if (static_cast<unsigned char>(*at.at) <= ' ') SkipSpace(&at);
    if (*at.at == ',') {
      ++at.at;
      if (*at.at == ' ') ++at.at;
      if (static_cast<unsigned char>(*at.at) <= ' ') SkipSpace(&at);
      continue;
    }
    if (*at.at != ']') {
      run = Run::kBroken;
      break;
    }
    ++at.at;
    run = Run::kClosed;
    // Straight into the next list, where it is another of as many elements.
    if (written - first != lists->expected) break;
    Cursor next = at;
    if (static_cast<unsigned char>(*next.at) <= ' ') SkipSpace(&next);
    if (*next.at != ',') break;
    ++next.at;
    if (static_cast<unsigned char>(*next.at) <= ' ') SkipSpace(&next);
    if (*next.at != '[') break;
    ++next.at;
    if (static_cast<unsigned char>(*next.at) <= ' ') SkipSpace(&next);
    if (*next.at == '[' || *next.at == ']') break;
    at = next;
    run = Run::kStopped;
    ++complete;
    first = written;
  }
  elements.Add(written);
  lists->complete = complete;
  lists->count = written - first;
  *cursor = at;
  return run;
}

bool TensorReader::ReadOneString(Cursor* cursor, Input* input) {
  if (string_count_ == kMaxStrings) return false;
  StringTable& strings = input->elements.strings();
  std::string_view contents;
  if (*cursor->at == '"') {
    if (ReadString(cursor, &contents) != Fault::kNone) return false;
    AppendUnescaped(contents, &strings.bytes);
    strings.offsets.push_back(strings.bytes.size());
    ++string_count_;
    return true;
  }
  if (*cursor->at != '{') return false;
  const auto base64 = ReadBase64Object(cursor);
  if (!base64 || IsCutOff(*cursor)) return false;
  contents = *base64;
  std::string plain;
  if (contents.find('\\') != std::string_view::npos) {
    AppendUnescaped(contents, &plain);
    contents = plain;
  }
  const size_t start = strings.bytes.size();
  strings.bytes.resize(start + Base64DecodedMost(contents.size()));
  const auto length = DecodeBase64(contents, strings.bytes.data() + start);
  strings.bytes.resize(start + length.value_or(0));
  if (!length) return false;
  strings.offsets.push_back(strings.bytes.size());
  ++string_count_;
  return true;
}

TensorReader::Run TensorReader::ReadRunOfStrings(Cursor* cursor, Input* input, Lists* lists) {
  for (;;) {
    const char* const start = cursor->at;
    if (!ReadOneString(cursor, input)) {
      cursor->at = start;
      return Run::kStopped;
    }
    ++lists->count;
    SkipSpace(cursor);
    if (Take(cursor, ']')) return Run::kClosed;
    if (!Take(cursor, ',')) return Run::kBroken;
    SkipSpace(cursor);
  }
}

TensorReader::Run TensorReader::ReadRun(Cursor* cursor, Input* input, Lists* lists) {
  if (input->spec->dtype == DType::kString) return ReadRunOfStrings(cursor, input, lists);
  return WithCType(input->spec->dtype, [&](auto type) {
    if constexpr (std::is_same_v<decltype(type), std::nullptr_t>) {
      return Run::kStopped;
    } else {
      return ReadRunOf<decltype(type)>(cursor, input, lists);
    }
  });
}

bool TensorReader::ReadOne(Cursor* cursor, Input* input) {
  if (input->spec->dtype == DType::kString) return ReadOneString(cursor, input);
  return WithCType(input->spec->dtype, [&](auto type) {
    if constexpr (std::is_same_v<decltype(type), std::nullptr_t>) {
      return false;
    } else {
      if (!ReadElement(cursor, &type)) return false;
      input->elements.Room<decltype(type)>(static_cast<size_t>(cursor->end - cursor->at),
                                           static_cast<size_t>(cursor->at - input->start))[0] =
          type;
      input->elements.Add(1);
      return true;
    }
  });
}

// --- One tensor ---

// A tensor, or an instance of one, of which the first lists determine the shape: it is
// in sizes_ and rank_ then.
bool TensorReader::ReadTensor(Cursor* cursor, Input* input) {
  if (input->start == nullptr) input->start = cursor->at;
  return ReadLists(cursor, input, 0, false);
}

// From a value that `level` open lists are around to the end of the outermost.
bool TensorReader::ReadLists(Cursor* cursor, Input* input, size_t level, bool rank_known) {
  const size_t max_rank = kMaxRank - (form_ == BodyForm::kRow ? 1 : 0);
  for (;;) {
    // A value begins here, in as many lists as `level` says.
    if (*cursor->at == '[') {
      if (rank_known && level >= rank_) {
        return RefuseInTensor(
            *cursor, level,
            {.message = "Encountered list at unexpected level: " + std::to_string(level) +
                        " expected < " + std::to_string(rank_)});
      }
      if (level == max_rank)
        return Refuse({.message = "tensor parsing error: " + input->spec->name});
      counts_[level] = 0;
      if (!rank_known) sizes_[level] = kUnknown;
      ++level;
      ++cursor->at;
      SkipSpace(cursor);
      if (*cursor->at != ']') continue;
      ++cursor->at;
      if (!rank_known) {
        rank_known = true;
        rank_ = level;
      }
    } else {
      if (!rank_known) {
        rank_known = true;
        rank_ = level;
      }
      if (level != rank_) {
        if (!explains_) return false;
        return RefuseInTensor(
            *cursor, level,
            {.message = "JSON Value: " + Show(cursor->at, cursor->end) +
                        " found at incorrect level: " + std::to_string(level + 1) +
                        " in the JSON DOM. Expected at level: " + std::to_string(rank_)});
      }
      if (level == 0) {
        const Cursor start = *cursor;
        return ReadOne(cursor, input) || RefuseElement(start, *input);
      }
      Lists lists;
      if (level > 1 && sizes_[level - 1] > 0)
        lists.expected = static_cast<size_t>(sizes_[level - 1]);
      const Run run = ReadRun(cursor, input, &lists);
      counts_[level - 1] = static_cast<int64_t>(lists.count);
      if (level > 1) counts_[level - 2] += static_cast<int64_t>(lists.complete);
      if (run == Run::kBroken) return false;
      if (run == Run::kStopped) {
        // A list, which the next turn refuses; or the text is at fault.
        if (*cursor->at == '[') continue;
        if (!explains_) return false;
        const Cursor value = *cursor;
        (void)RefuseElement(value, *input);
        return RefuseInTensor(value, level, std::move(error_));
      }
    }
    // A list has ended, and with it perhaps those it is in.
    for (;;) {
      if (!CloseList(cursor, level - 1)) return false;
      if (--level == 0) return true;
      ++counts_[level - 1];
      SkipSpace(cursor);
      if (Take(cursor, ',')) {
        SkipSpace(cursor);
        break;
      }
      if (!Take(cursor, ']')) return false;
    }
  }
}

// The list of this level has ended before the cursor: it is as long as the others.
bool TensorReader::CloseList(const Cursor* cursor, size_t level) {
  if (sizes_[level] == kUnknown) sizes_[level] = counts_[level];
  if (sizes_[level] == counts_[level]) return true;
  return RefuseInTensor(*cursor, level, SizeError(level, counts_[level]));
}

// --- Instances ---

bool TensorReader::ReadInstances(Cursor* cursor) {
  if (!Take(cursor, '[')) return false;
  SkipSpace(cursor);
  if (*cursor->at == ']') return false;
  const bool is_object = *cursor->at == '{';
  Cursor probe = *cursor;
  const bool is_base64 = is_object && ReadBase64Object(&probe).has_value();
  if (!is_object && inputs_.size() > 1) {
    return Refuse({.message =
                       "instances is a plain list, but expecting list of objects as multiple input "
                       "tensors required as per tensorinfo_map"});
  }
  return is_object && !is_base64 ? ReadNamedInstances(cursor) : ReadPlainInstances(cursor);
}

bool TensorReader::ReadInstance(Cursor* cursor, Input* input) {
  const size_t before = input->elements.count();
  if (!ReadTensor(cursor, input)) return false;
  const size_t count = input->elements.count() - before;
  if (!input->shape) {
    input->shape.emplace(sizes_.begin(), sizes_.begin() + static_cast<ptrdiff_t>(rank_));
    input->instance_count = count;
    return true;
  }
  if (rank_ == input->shape->size() &&
      std::equal(input->shape->begin(), input->shape->end(), sizes_.begin())) {
    return true;
  }
  if (!explains_) return false;
  if (count != input->instance_count) {
    return Refuse({.message = "Expecting tensor size: " + std::to_string(input->instance_count) +
                              " but got: " + std::to_string(count)});
  }
  const Shape shape(sizes_.begin(), sizes_.begin() + static_cast<ptrdiff_t>(rank_));
  return Refuse({.message = "Expecting shape " + ShapeToString(*input->shape) +
                            " but got: " + ShapeToString(shape)});
}

bool TensorReader::ReadPlainInstances(Cursor* cursor) {
  Input& input = inputs_[0];
  for (;;) {
    if (input.shape && input.shape->empty() && *cursor->at != '[') {
      // Scalars, which lie in the list as the elements of a tensor do.
      Lists lists;
      const Run run = ReadRun(cursor, &input, &lists);
      instances_ += lists.count;
      if (run != Run::kStopped) return run == Run::kClosed;
    }
    if (*cursor->at == '{') {
      Cursor probe = *cursor;
      if (!ReadBase64Object(&probe)) {
        return Refuse({.message = "Expecting value/list but got object at item " +
                                  std::to_string(instances_) + " of input list"});
      }
    }
    if (!ReadInstance(cursor, &input)) return RefuseInstance("");
    ++instances_;
    SkipSpace(cursor);
    if (Take(cursor, ']')) return true;
    if (!Take(cursor, ',')) return false;
    SkipSpace(cursor);
    if (explains_ || rank_ == 0) continue;
    // The others as the lists of a tensor that is one dimension larger. Errors, which are those
    // of instances, are not for this.
    std::copy_backward(sizes_.begin(), sizes_.begin() + static_cast<ptrdiff_t>(rank_),
                       sizes_.begin() + static_cast<ptrdiff_t>(rank_) + 1);
    sizes_[0] = kUnknown;
    counts_[0] = 0;
    ++rank_;
    if (!ReadLists(cursor, &input, 1, true)) return false;
    instances_ += static_cast<size_t>(counts_[0]);
    return true;
  }
}

bool TensorReader::ReadNamedInstances(Cursor* cursor) {
  for (;;) {
    Cursor probe = *cursor;
    if (*cursor->at != '{' || ReadBase64Object(&probe)) {
      return Refuse({.message = "Expecting object but got list at item " +
                                std::to_string(instances_) + " of input list"});
    }
    if (!ReadNamedInstance(cursor)) return false;
    ++instances_;
    SkipSpace(cursor);
    if (Take(cursor, ']')) return true;
    if (!Take(cursor, ',')) return false;
    SkipSpace(cursor);
  }
}

bool TensorReader::ReadNamedInstance(Cursor* cursor) {
  const char* const object = cursor->at++;
  const size_t number = instances_ + 1;
  size_t seen = 0;
  SkipSpace(cursor);
  if (!Take(cursor, '}')) {
    for (size_t position = 0;; ++position) {
      std::string_view key;
      if (!ReadKey(cursor, &key)) return false;
      Input* const input = Find(key, position);
      if (input == nullptr) {
        if (!explains_) return false;
        error_ = {.message = "JSON object: does not have named input: " + std::string(key)};
        return RefuseInstance(key);
      }
      if (input->seen_in == number) {
        // Of several members with one name the first counts.
        if (SkipValue(cursor) != Fault::kNone || IsCutOff(*cursor)) return false;
      } else {
        if (!ReadInstance(cursor, input)) return RefuseInstance(input->spec->name);
        input->seen_in = number;
        ++seen;
      }
      SkipSpace(cursor);
      if (Take(cursor, '}')) break;
      if (!Take(cursor, ',')) return false;
      SkipSpace(cursor);
    }
  }
  if (IsCutOff(*cursor)) return false;
  return seen == inputs_.size() || RefuseKeys(object, cursor->end);
}

// --- Inputs ---

bool TensorReader::ReadInputs(Cursor* cursor) {
  Cursor probe = *cursor;
  if (*cursor->at != '{' || ReadBase64Object(&probe)) {
    if (inputs_.size() > 1) {
      return Refuse({.message = "inputs is a plain value/list, but expecting an object as multiple "
                                "input tensors required as per tensorinfo_map"});
    }
    if (!ReadTensor(cursor, &inputs_[0])) return false;
    inputs_[0].shape.emplace(sizes_.begin(), sizes_.begin() + static_cast<ptrdiff_t>(rank_));
    return true;
  }
  ++cursor->at;
  SkipSpace(cursor);
  if (!Take(cursor, '}')) {
    for (size_t position = 0;; ++position) {
      std::string_view key;
      if (!ReadKey(cursor, &key)) return false;
      Input* const input = Find(key, position);
      if (input == nullptr || input->shape) {
        if (SkipValue(cursor) != Fault::kNone || IsCutOff(*cursor)) return false;
      } else {
        if (!ReadTensor(cursor, input)) return false;
        input->shape.emplace(sizes_.begin(), sizes_.begin() + static_cast<ptrdiff_t>(rank_));
      }
      SkipSpace(cursor);
      if (Take(cursor, '}')) break;
      if (!Take(cursor, ',')) return false;
      SkipSpace(cursor);
    }
  }
  for (const Input& input : inputs_) {
    if (input.shape) continue;
    return Refuse({.message = "Missing named input: " + input.spec->name + " in 'inputs' object."});
  }
  return true;
}

std::vector<std::pair<size_t, Tensor>> TensorReader::TakeFeeds() {
  std::vector<std::pair<size_t, Tensor>> feeds;
  feeds.reserve(inputs_.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    Input& input = inputs_[i];
    if (!input.shape) continue;
    Shape shape;
    if (form_ == BodyForm::kRow) shape.push_back(static_cast<int64_t>(instances_));
    shape.insert(shape.end(), input.shape->begin(), input.shape->end());
    feeds.emplace_back(i, input.elements.Take(std::move(shape)));
  }
  return feeds;
}

// --- Keys ---

// A key and the colon behind it. What the key is lasts until the next is read.
bool TensorReader::ReadKey(Cursor* cursor, std::string_view* key) {
  if (*cursor->at != '"' || ReadString(cursor, key) != Fault::kNone) return false;
  if (key->find('\\') != std::string_view::npos) {
    key_.clear();
    AppendUnescaped(*key, &key_);
    *key = key_;
  }
  SkipSpace(cursor);
  if (!Take(cursor, ':')) return false;
  SkipSpace(cursor);
  return true;
}

// The input of this name, which is first looked for at the position `hint`.
Input* TensorReader::Find(std::string_view name, size_t hint) {
  if (hint < inputs_.size() && inputs_[hint].spec->name == name) return &inputs_[hint];
  const auto found = std::find_if(inputs_.begin(), inputs_.end(),
                                  [name](const Input& input) { return input.spec->name == name; });
  return found == inputs_.end() ? nullptr : &*found;
}

// --- Errors ---

bool TensorReader::Refuse(RequestError error) {
  error_ = std::move(error);
  return false;
}

// A value that is no element of the input.
bool TensorReader::RefuseElement(const Cursor& value, const Input& input) {
  if (!explains_) return false;
  const DType dtype = input.spec->dtype;
  const bool is_object = *value.at == '{';
  Cursor probe = value;
  if (string_count_ == kMaxStrings) {
    return Refuse(
        {.code = RequestError::Code::kResourceExhausted,
         .message = "The request has more than " + std::to_string(kMaxStrings) + " strings"});
  }
  if (dtype == DType::kString && is_object) {
    if (ReadBase64Object(&probe)) return Refuse({.message = "Unable to base64 decode"});
    return Refuse(FormatError(value.at, value.end, "not formatted correctly for base64 data"));
  }
  const bool has_elements = dtype == DType::kString || WithCType(dtype, [](auto type) {
                              return !std::is_same_v<decltype(type), std::nullptr_t>;
                            });
  const std::string type(TensorFlowTypeName(dtype));
  if (!is_object && !has_elements) {
    return Refuse({.code = RequestError::Code::kUnimplemented,
                   .message = "Conversion of JSON Value: " + Show(value.at, value.end) +
                              " to type: " + type});
  }
  return Refuse(
      FormatError(value.at, value.end,
                  "Type: " + std::string(TypeOf(value.at)) + " is not of expected type: " + type));
}

RequestError TensorReader::SizeError(size_t level, int64_t size) const {
  return {.message = "Encountered list at unexpected size: " + std::to_string(size) +
                     " at level: " + std::to_string(level) +
                     " expected size: " + std::to_string(sizes_[level])};
}

// The error of a value inside of `open` lists. TensorFlow Serving looks at a list's length
// before it looks at its elements, so that one of these lists, which are still
// open here, may have been refused first. The cursor is at the value, or behind it
// where it is a list that has ended.
bool TensorReader::RefuseInTensor(const Cursor& value, size_t open, RequestError error) {
  if (!explains_) return false;
  Cursor cursor = value;
  cursor.SkipSpace();
  if (cursor.Peek() != ',' && cursor.Peek() != ']') (void)SkipValue(&cursor);
  std::array<int64_t, kMaxRank> totals;
  for (size_t level = open; level-- > 0;) {
    totals[level] = counts_[level] + 1;
    for (;;) {
      cursor.SkipSpace();
      if (cursor.Peek() != ',') break;
      ++cursor.at;
      cursor.SkipSpace();
      (void)SkipValue(&cursor);
      ++totals[level];
    }
    ++cursor.at;
  }
  for (size_t level = 0; level < open; ++level) {
    if (sizes_[level] != kUnknown && totals[level] != sizes_[level]) {
      return Refuse(SizeError(level, totals[level]));
    }
  }
  return Refuse(std::move(error));
}

// The error of the instance that is read, in the words for it.
bool TensorReader::RefuseInstance(std::string_view key) {
  if (!explains_ || error_.code == RequestError::Code::kResourceExhausted) return false;
  const std::string of_key = key.empty() ? "" : " key: " + std::string(key);
  return Refuse({.message = "Failed to process element: " + std::to_string(instances_) + of_key +
                            " of 'instances' list. Error: " + std::string(CodeName(error_.code)) +
                            ": " + error_.message});
}

bool TensorReader::RefuseKeys(const char* object, const char* end) {
  if (!explains_) return false;
  std::set<std::string_view> names;
  for (const Input& input : inputs_) names.insert(input.spec->name);
  std::string list;
  for (const std::string_view name : names) {
    if (!list.empty()) list += ",";
    list += name;
  }
  return Refuse({.message = "Failed to process element: " + std::to_string(instances_) +
                            " of 'instances' list. JSON object: " + Show(object, end) +
                            " keys must be equal to: " + list});
}

// --- The body ---

class BodyReader {
 public:
  BodyReader(std::string_view body, std::string_view signature,
             const std::vector<InputSpec>* inputs)
      : body_(body), guess_(signature), inputs_(inputs) {}

  PredictBody Read() {
    PredictBody result;
    if (inputs_ != nullptr && ReadAtOnce(&result)) return result;
    return ReadWithCare();
  }

 private:
  // Whether everything is well as far as it was read: to the end, or to the name of
  // another signature.
  bool ReadAtOnce(PredictBody* result);
  // Says what is wrong, or which signature is asked for.
  PredictBody ReadWithCare();

  // Of a name as it is written.
  bool IsGuess(std::string_view signature) const {
    return (signature.empty() ? kDefaultSignature : signature) == guess_ &&
           signature.find('\\') == std::string_view::npos;
  }

  const std::string_view body_;
  const std::string_view guess_;
  const std::vector<InputSpec>* const inputs_;
};

bool BodyReader::ReadAtOnce(PredictBody* result) {
  if (inputs_->empty()) return false;
  Cursor cursor = UpToLastBrace(body_);
  cursor.SkipSpace();
  if (cursor.at == cursor.end || !Take(&cursor, '{')) return false;
  TensorReader reader(*inputs_, false);
  bool has_signature = false;
  bool has_tensors = false;
  std::string unescaped;
  SkipSpace(&cursor);
  // An empty object has no tensors.
  for (;;) {
    std::string_view key;
    if (*cursor.at != '"' || ReadString(&cursor, &key) != Fault::kNone) return false;
    // A key that is written in another way than usual is one for ReadWithCare.
    if (key.find('\\') != std::string_view::npos) return false;
    SkipSpace(&cursor);
    if (!Take(&cursor, ':')) return false;
    SkipSpace(&cursor);
    if (key == "instances" || key == "inputs") {
      if (has_tensors) return false;
      has_tensors = true;
      result->form = key == "instances" ? BodyForm::kRow : BodyForm::kColumnar;
      if (!reader.Read(result->form, &cursor)) return false;
    } else if (key == "signature_name") {
      std::string_view name;
      if (has_signature || *cursor.at != '"') return false;
      has_signature = true;
      if (ReadString(&cursor, &name) != Fault::kNone) return false;
      if (!IsGuess(name)) {
        if (has_tensors || name.find('\\') != std::string_view::npos) return false;
        result->outcome = PredictBody::Outcome::kOtherSignature;
        result->signature = name.empty() ? kDefaultSignature : name;
        return true;
      }
    } else if (SkipValue(&cursor) != Fault::kNone) {
      return false;
    }
    if (IsCutOff(cursor)) return false;
    SkipSpace(&cursor);
    if (Take(&cursor, '}')) break;
    if (!Take(&cursor, ',')) return false;
    SkipSpace(&cursor);
  }
  if (!has_tensors || (!has_signature && !IsGuess(""))) return false;
  result->outcome = PredictBody::Outcome::kDecoded;
  result->signature = guess_;
  result->feeds = reader.TakeFeeds();
  return true;
}

PredictBody BodyReader::ReadWithCare() {
  PredictBody result;
  const auto refuse = [&result](RequestError error) {
    result.outcome = PredictBody::Outcome::kRefused;
    result.error = std::move(error);
    return std::move(result);
  };
  Document document;
  const char* signature = nullptr;
  const char* instances = nullptr;
  const char* inputs = nullptr;
  if (auto error = ReadBody(
          body_, &document,
          {{"signature_name", &signature}, {"instances", &instances}, {"inputs", &inputs}})) {
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
  if (inputs_ == nullptr || result.signature != guess_) {
    result.outcome = PredictBody::Outcome::kOtherSignature;
    return result;
  }
  if (inputs_->empty()) {
    return refuse({.message = "Failed to get input map for signature: " +
                              (signature == nullptr ? "DEFAULT" : result.signature)});
  }
  if (instances != nullptr && inputs != nullptr) {
    return format_error(
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ");
  }
  if (instances == nullptr && inputs == nullptr) {
    return refuse({.message = "Missing 'inputs' or 'instances' key"});
  }
  if (instances != nullptr) {
    if (*instances != '[') return format_error("Expecting 'instances' to be an list/array");
    if (!ArrayElements(instances, document.end).Next()) {
      return format_error("No values in 'instances' array");
    }
  }
  result.form = instances != nullptr ? BodyForm::kRow : BodyForm::kColumnar;
  TensorReader reader(*inputs_, true);
  Cursor cursor{instances != nullptr ? instances : inputs, document.end};
  if (!reader.Read(result.form, &cursor)) return refuse(reader.TakeError());
  result.outcome = PredictBody::Outcome::kDecoded;
  result.feeds = reader.TakeFeeds();
  return result;
}

}  // namespace

PredictBody DecodePredict(std::string_view body, std::string_view signature,
                          const std::vector<InputSpec>* inputs) {
  return BodyReader(body, signature.empty() ? kDefaultSignature : signature, inputs).Read();
}

}  // namespace tenon::codec
