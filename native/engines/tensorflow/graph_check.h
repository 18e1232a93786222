#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace tenon::tensorflow {

// TensorFlow builds the shapes of a graph's constants and attributes with
// checks that end the process where the number of elements overflows, the rank
// is above its limit or a size is below -1. These look at every such shape
// first, in nodes and functions, and refuse the graph with kModelInvalid. The
// message format is TensorFlow's public protobuf one; what is no protobuf at
// all passes, because the engine refuses that itself.

// `bytes` is a serialized SavedModel.
Status CheckSavedModel(std::string_view bytes);

// `bytes` is a serialized GraphDef.
Status CheckGraphDef(std::string_view bytes);

// The bytes of a file that TensorFlow is to read as one protobuf message.
Result<std::string> ReadMessageFile(const std::string& path);

}  // namespace tenon::tensorflow
