#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/model_info.h"
#include "core/value.h"
#include "runtime/gather.h"

namespace tenon {

// One output of a batch: a value for each member, or else all members' rows below
// each other as they are in the batch's.
struct ScatteredOutput {
  bool is_whole = false;
  std::vector<Value> parts;  // a single one where it is whole
};

// Cuts the outputs of a batch into those of its members. Each must be a tensor whose
// dimension 0 is the rows of the batch (or else kBatch).
//
// One of which every member's part is smaller than `small` bytes stays whole: it is cut
// where it is handed out, and copied there. A member's part is otherwise memory of its
// own, or shares that of the batch without overlapping a neighbour's where it is at
// least half of it: whoever keeps one then keeps at most twice its size. Adds to
// `copied_bytes` what was copied here.
Result<std::vector<ScatteredOutput>> Scatter(const ModelInfo& info, const Gather& batch,
                                             const std::vector<Value>& outputs, size_t small,
                                             uint64_t* copied_bytes);

}  // namespace tenon
