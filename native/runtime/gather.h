#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "engines/session.h"
#include "runtime/batch.h"
#include "runtime/block_copy.h"
#include "runtime/buffer_pool.h"

namespace tenon {

// Puts the tensors of a batch together from those of its members, in buffers of
// a pool: each byte is copied once, and where the pool has buffers nothing is
// allocated for them (strings excepted, whose tables have no fixed size).
//
// Tensors of members that are the whole batch's as they lie, one after the other in
// memory of Tenon's, go as they are.
class Gather {
 public:
  // Checks the request, see CheckBatch.
  static Result<std::unique_ptr<Gather>> Create(const ModelInfo& info, BatchRequest request,
                                                std::shared_ptr<BufferPool> buffers);

  // Copies what has no owner, so that its memory need not stay. To be called, if
  // at all, before Finish.
  Status CopyUnowned();

  // Copies everything else and sets inputs and feeds of `run`. Members' memory
  // is let go of. Once `cancel` is cancelled, memory without an owner is not
  // touched any more; it may vanish as soon as Cancel has returned.
  Status Finish(CancelToken* cancel, RunRequest* run);

  // Whether nothing is left to copy that has no owner.
  bool IsAllOwned() const;

  const BatchRequest& request() const { return request_; }
  uint64_t copied_bytes() const { return copied_bytes_; }
  // Rows of members.
  size_t member_rows() const { return first_rows_.back(); }
  size_t first_row(size_t member) const { return first_rows_[member]; }
  int64_t feed_dim(size_t member, size_t input, size_t dim) const {
    return request_.feed(member, input).shape[dim];
  }

 private:
  Gather(BatchRequest request, std::shared_ptr<BufferPool> buffers)
      : request_(std::move(request)), buffers_(std::move(buffers)) {}

  Status Prepare(const ModelInfo& info);
  bool GoesAsItIs(size_t input) const;
  Status MakeTensor(size_t input);
  Status MakeMask(const BatchLayout::Mask& mask, Value* value);
  void CopyFeed(size_t member, size_t input);
  void JoinStrings(size_t input);
  void RepeatLastRow(Tensor* tensor) const;
  Status CopyRest();

  BatchRequest request_;
  const std::shared_ptr<BufferPool> buffers_;
  // One for each input; meaningful where it is padded, and not with a member's own element.
  std::vector<Fill> fills_;
  std::vector<Fill> marks_;         // for each mask two: of padding, of what is real
  std::vector<size_t> first_rows_;  // of each member, and one past the last
  std::vector<Tensor> tensors_;     // the batch's; without data until made
  std::vector<bool> copied_;        // as the request's feeds
  uint64_t copied_bytes_ = 0;
};

}  // namespace tenon
