#include "platform/shared_library.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace tenon {

#ifdef _WIN32

namespace {

std::wstring Widen(const std::string& text) {
  const int size =
      MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), nullptr, 0);
  std::wstring wide(static_cast<size_t>(size), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), wide.data(), size);
  return wide;
}

}  // namespace

std::optional<SharedLibrary> SharedLibrary::Open(const std::string& path, std::string* error) {
  // The altered search path lets a library find its neighbours (DirectML.dll, the framework
  // library).
  const DWORD flags =
      path.find_first_of("\\/") == std::string::npos ? 0 : LOAD_WITH_ALTERED_SEARCH_PATH;
  HMODULE handle = LoadLibraryExW(Widen(path).c_str(), nullptr, flags);
  if (handle == nullptr) {
    *error = "LoadLibraryEx failed with error " + std::to_string(GetLastError());
    return std::nullopt;
  }
  return SharedLibrary(handle, path);
}

void* SharedLibrary::FindAddress(const char* symbol) const {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle_), symbol));
}

#else

std::optional<SharedLibrary> SharedLibrary::Open(const std::string& path, std::string* error) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* words = dlerror();
    *error = words == nullptr ? "dlopen failed" : words;
    return std::nullopt;
  }
  return SharedLibrary(handle, path);
}

void* SharedLibrary::FindAddress(const char* symbol) const { return dlsym(handle_, symbol); }

#endif

}  // namespace tenon
