#pragma once

#include <napi.h>

#include <memory>

#include "core/value.h"
#include "runtime/model_host.h"

namespace tenon::addon {

// How the memory of a feed reaches the engine.
enum class FeedMemory {
  // Memory that Tenon owns goes by pointer, everything else is copied: what an
  // asynchronous run needs, because JavaScript may transfer or collect a
  // buffer while the engine reads it. Integers that may be indices are copied
  // too: JavaScript may write to them between their check and their use.
  kOwned,
  // As kOwned, but integers go by pointer, too: for a caller that copies them
  // itself whenever they are read.
  kKept,
  // As kOwned, but the caller's own buffers go by pointer, too: it has promised
  // to leave them alone until the run has ended.
  kLent,
  // Every suitable buffer goes by pointer, without an owner: for a run on the
  // calling thread, during which JavaScript stands still. SharedArrayBuffers
  // are copied all the same, other threads may write to them.
  kBorrowed,
  // Every suitable buffer goes by pointer, with its owner where that is Tenon: for
  // a caller that copies what has none while JavaScript stands still or has
  // promised to leave it alone, and integers in any case.
  kGathered,
};

// Below this an output is copied into an ordinary ArrayBuffer: making external
// memory and its finalizer costs more than the copy. Set by
// bench/output-copy (copy and external cost the same at about this size).
inline constexpr size_t kExternalMinBytes = 16 * 1024;

// A NativeValueIn of lib/native/types.ts. Throws coded errors for what is
// detached, ill-typed or too large. `bytes` is told what was copied or passed.
Value ReadValue(Napi::Value value, FeedMemory memory, ByteCounts* bytes);

// A tensor of a batch's member, see FeedMemory::kGathered. Throws
// ERR_TENON_UNSUPPORTED for any other value.
Tensor ReadMember(Napi::Value value, ByteCounts* bytes);

// The tensor an output is to be written into: memory that Tenon owns, or, for a
// run during which JavaScript stands still, any.
Tensor ReadTarget(Napi::Value value, FeedMemory memory);

// A NativeValueOut. Memory that is exclusively ours and large enough is handed
// out as it is, everything else copied.
Napi::Value WriteValue(Napi::Env env, const Value& value, ByteCounts* bytes);

// The tensor behind a NativeEngineTensor's handle; throws ERR_TENON_DISPOSED
// once it was released.
std::shared_ptr<const EngineTensor> ReadEngineTensor(Napi::Value handle);
// Lets the tensor behind a handle go.
void ReleaseEngineTensor(Napi::Value handle);

// An ArrayBuffer over `byte_length` bytes at `data`, which `owner` keeps alive.
// Where the runtime refuses external memory, an ordinary buffer with a copy.
Napi::ArrayBuffer ExternalBuffer(Napi::Env env, void* data, size_t byte_length,
                                 std::shared_ptr<void> owner);

// Detaches a buffer, and drops JavaScript's share of its memory where it is Tenon's.
void ReleaseBuffer(Napi::ArrayBuffer buffer);

}  // namespace tenon::addon
