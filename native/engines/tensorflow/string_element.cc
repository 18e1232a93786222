#include "engines/tensorflow/string_element.h"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tenon::tensorflow {

bool WriteString(const Api& api, std::string_view text, TF_TString* element) {
  if (api.TF_StringInit == nullptr || api.TF_StringCopy == nullptr) {
    return string_layout::Write(text, element);
  }
  api.TF_StringInit(element);
  api.TF_StringCopy(element, text.data(), text.size());
  return true;
}

std::string_view ReadString(const Api& api, const TF_TString& element) {
  if (api.TF_StringGetDataPointer == nullptr || api.TF_StringGetSize == nullptr) {
    return string_layout::Read(element);
  }
  return {api.TF_StringGetDataPointer(&element), api.TF_StringGetSize(&element)};
}

void ClearString(const Api& api, TF_TString* element) {
  if (api.TF_StringDealloc == nullptr) return string_layout::Clear(element);
  api.TF_StringDealloc(element);
}

namespace string_layout {
namespace {

static_assert(std::endian::native == std::endian::little && sizeof(size_t) == 8,
              "string elements are laid out as on 64-bit little-endian machines");

enum Kind : unsigned char { kSmall = 0, kLarge = 1, kOffset = 2, kView = 3 };
constexpr unsigned char kKindMask = 3;
constexpr int kSizeShift = 2;
constexpr size_t kSmallCapacity = 22;  // 24 bytes less the size and a closing NUL

template <typename T>
T Load(const TF_TString& element, size_t at) {
  T value;
  std::memcpy(&value, element.raw + at, sizeof(value));
  return value;
}

template <typename T>
void Store(T value, size_t at, TF_TString* element) {
  std::memcpy(element->raw + at, &value, sizeof(value));
}

}  // namespace

bool Write(std::string_view text, TF_TString* element) {
  std::memset(element->raw, 0, sizeof(element->raw));
  if (text.size() <= kSmallCapacity) {
    element->raw[0] = static_cast<unsigned char>(text.size() << kSizeShift | kSmall);
    if (!text.empty()) std::memcpy(element->raw + 1, text.data(), text.size());
    return true;
  }
  char* bytes = static_cast<char*>(std::malloc(text.size() + 1));
  if (bytes == nullptr) return false;  // the element is a small one of no bytes
  std::memcpy(bytes, text.data(), text.size());
  bytes[text.size()] = '\0';
  Store<uint64_t>(text.size() << kSizeShift | kLarge, 0, element);
  Store<uint64_t>(text.size(), 8, element);
  Store<char*>(bytes, 16, element);
  return true;
}

std::string_view Read(const TF_TString& element) {
  const char* start = reinterpret_cast<const char*>(element.raw);
  switch (element.raw[0] & kKindMask) {
    case kSmall: return {start + 1, static_cast<size_t>(element.raw[0] >> kSizeShift)};
    case kLarge: return {Load<const char*>(element, 16), Load<uint64_t>(element, 0) >> kSizeShift};
    case kOffset:
      return {start + Load<uint32_t>(element, 4), Load<uint32_t>(element, 0) >> kSizeShift};
    default: return {Load<const char*>(element, 8), Load<uint64_t>(element, 0) >> kSizeShift};
  }
}

void Clear(TF_TString* element) {
  if ((element->raw[0] & kKindMask) == kLarge) std::free(Load<char*>(*element, 16));
  std::memset(element->raw, 0, sizeof(element->raw));
}

}  // namespace string_layout
}  // namespace tenon::tensorflow
