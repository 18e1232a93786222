#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/model_info.h"
#include "core/value.h"
#include "runtime/gather.h"

namespace tenon {

// Cuts the outputs of a batch into those of its members, member by member. Each
// must be a tensor whose dimension 0 is the rows of the batch (or else kBatch).
//
// A member's output smaller than `small` bytes may be a view of the batch's that
// is not `exclusive`: it is copied where it is handed out. A larger one is memory of
// its own, or shares that of the batch without overlapping a neighbour's where it
// is at least half of it: whoever keeps one then keeps at most twice its size.
// Adds to `copied_bytes` what was copied here.
Result<std::vector<Value>> Scatter(const ModelInfo& info, const Gather& batch,
                                   const std::vector<Value>& outputs, size_t small,
                                   uint64_t* copied_bytes);

}  // namespace tenon
