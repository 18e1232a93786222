#pragma once

#include <string>

#include "core/status.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// The engine keeps whatever configuration entry it is given and reads those it
// has a use for, so a misspelt key would pass unseen. These fail with
// kInvalidArgument for a key that the engine itself does not have. Keys of
// providers ("ep.…") and of custom operators are theirs to know, and pass.
Status CheckSessionKey(const Library& library, const std::string& key);
Status CheckRunKey(const Library& library, const std::string& key);

}  // namespace tenon::onnxruntime
