#include "engines/output_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace tenon {

Status CheckWritable(const std::string& what, const std::string& path) {
  const std::filesystem::path file(std::u8string(path.begin(), path.end()));
  std::error_code error;
  const bool existed = std::filesystem::exists(file, error);
  if (path.find('\0') != std::string::npos || !std::ofstream(file, std::ios::app)) {
    return {StatusCode::kInvalidArgument,
            "expected a path that can be written for " + what + ", received \"" + path + "\""};
  }
  if (!existed) std::filesystem::remove(file, error);
  return {};
}

}  // namespace tenon
