#pragma once

#include <string>

#include "core/status.h"

namespace tenon {

// kInvalidArgument where no file can be written at `path` (UTF-8), which is `what`
// in the message. A file that is there stays as it is.
Status CheckWritable(const std::string& what, const std::string& path);

}  // namespace tenon
