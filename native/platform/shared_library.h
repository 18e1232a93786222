#pragma once

#include <optional>
#include <string>
#include <utility>

namespace tenon {

// A shared library opened at run time. It is never closed (see Engine), so the
// handle is a plain pointer and copies are free.
class SharedLibrary {
 public:
  // Opens `path` (UTF-8; a bare name asks the system loader), its symbols kept
  // to itself. On failure `error` holds the loader's own words.
  static std::optional<SharedLibrary> Open(const std::string& path, std::string* error);

  // Null where the library has no such symbol.
  template <typename Function>
  Function Find(const char* symbol) const {
    return reinterpret_cast<Function>(FindAddress(symbol));
  }

  // The file that was opened, as the system loader knows it; the path given to
  // Open where it does not tell.
  const std::string& path() const { return path_; }

 private:
  SharedLibrary(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  void* FindAddress(const char* symbol) const;

  void* handle_;
  std::string path_;
};

}  // namespace tenon
