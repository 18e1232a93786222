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

struct GraphFacts {
  // An operation of the graph whose kernels, or what TensorFlow fuses it into,
  // end the process where a tensor has another rank than the graph was made for;
  // empty where there is none. test/fixtures/make/tf_rank_aborts.py found them.
  std::string rank_bound;
};

// `bytes` is a serialized SavedModel.
Result<GraphFacts> CheckSavedModel(std::string_view bytes);

// `bytes` is a serialized GraphDef.
Result<GraphFacts> CheckGraphDef(std::string_view bytes);

// The bytes of a file that TensorFlow is to read as one protobuf message.
Result<std::string> ReadMessageFile(const std::string& path);

}  // namespace tenon::tensorflow
