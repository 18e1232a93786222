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
};

// Below this an output is copied into an ordinary ArrayBuffer: making external
// memory and its finalizer costs more than the copy. Set by
// bench/output-copy (copy and external cost the same at about this size).
inline constexpr size_t kExternalMinBytes = 16 * 1024;

// A NativeValueIn of lib/native/types.ts. Throws coded errors for what is
// detached, ill-typed or too large. `bytes` is told what was copied or passed.
Value ReadValue(Napi::Value value, FeedMemory memory, ByteCounts* bytes);

// Where feeds of a batch's members lie: memory, or the strings of one.
struct FeedSource {
  void* data = nullptr;
  size_t byte_length = 0;
  // Null where the memory is not Tenon's. It is then the caller's to copy while
  // JavaScript stands still, or has promised to leave it alone.
  std::shared_ptr<void> owner;
  bool is_detached = false;
  bool is_shared = false;        // other threads may write to it
  napi_value strings = nullptr;  // an array of them, in place of memory
};

// Of an ArrayBuffer, a view (for memory that is no ArrayBuffer's), or an array of
// strings. Throws coded errors for anything else.
FeedSource ReadFeedSource(Napi::Value value);

// Gives `tensor`, whose dtype is set, what lies at `offset` of `source`; of strings all.
// Memory that other threads may write to is copied. Throws coded errors for what is
// detached, not there or of the wrong kind.
void ReadFeed(Napi::Env env, const FeedSource& source, size_t offset, size_t byte_length,
              Tensor* tensor, ByteCounts* bytes);

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
