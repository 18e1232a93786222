#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/model_info.h"
#include "core/shape.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/session.h"

namespace tenon {

// A block of memory in which requests of small tensors come from JavaScript and
// their outputs go back: the words that describe them, and their bytes. Both sides
// write and read there in a few nanoseconds, where a value that crosses through
// Node-API costs tens, and an array or a buffer hundreds.
//
// Nothing in a request is believed: whatever its words say, Read touches no byte
// outside the block, and an engine checks the rest as it checks every request.
//
// For one thread, which writes a request, has it read and reads the outputs before
// the next one is written.
class ExchangeBlock {
 public:
  // The parts, as lib/model/exchange.ts is told of them: words of 32 bits, and
  // bytes. Each tensor begins at a multiple of kTensorAlignment of its part.
  static constexpr size_t kRequestWords = 1024;
  static constexpr size_t kResultWords = 1024;
  // A run took 2.5 µs less by way of the block than without it, at 64 bytes of feeds
  // as at 16 KiB. Outputs above that are not copied at all (kExternalMinBytes).
  static constexpr size_t kFeedBytes = 16 * 1024;
  static constexpr size_t kOutputBytes = 16 * 1024;

  static constexpr size_t kResultAt = kRequestWords * sizeof(int32_t);
  static constexpr size_t kFeedsAt = kResultAt + kResultWords * sizeof(int32_t);
  static constexpr size_t kOutputsAt = kFeedsAt + kFeedBytes;
  static constexpr size_t kByteLength = kOutputsAt + kOutputBytes;

  // A request's words: the header, the indices of its outputs, and for each input
  // its index, the dtype, the byte length, the rank and the sizes.
  enum Header { kLength, kSession, kSignature, kInputs, kOutputs, kHeaderWords };
  static constexpr size_t kInputWords = 4;
  // A result's: how many outputs, and for each the dtype, the offset in the block, the
  // byte length, the rank and the sizes.
  static constexpr size_t kOutputWords = 4;

  // `memory` must be aligned to kTensorAlignment; `owner` is what keeps it.
  ExchangeBlock(void* memory, std::shared_ptr<void> owner)
      : memory_(static_cast<unsigned char*>(memory)), owner_(std::move(owner)) {}

  int32_t session() const { return words()[kSession]; }
  size_t signature() const { return static_cast<size_t>(words()[kSignature]); }
  // Everything about a request but its session and the contents of its feeds. Empty
  // where the length cannot be.
  std::span<const int32_t> key() const {
    const int32_t length = words()[kLength];
    if (length < kHeaderWords || static_cast<size_t>(length) > kRequestWords) return {};
    return {words() + kSignature, static_cast<size_t>(length) - kSignature};
  }

  // Feeds stay in the block, without an owner. Keeps what `request` has allocated.
  // Returns the bytes of the feeds.
  Result<uint64_t> Read(RunRequest* request) const;
  // The same with the feeds copied into memory of their own.
  Result<uint64_t> Take(RunRequest* request) const;

  // Puts outputs where JavaScript reads them. Returns how many bytes they are; nothing,
  // with nothing done, where they are too large or no tensors of fixed size.
  std::optional<uint64_t> Write(const std::vector<Value>& outputs);

  // Makes the block the place of all that `request`, which was read from it, is fed
  // and gives, so that it can be bound. Returns its outputs, for Write; nothing where
  // that would not take them.
  std::optional<std::vector<Value>> Settle(const Signature& signature,
                                           const std::vector<Shape>& shapes,
                                           RunRequest* request) const;

 private:
  static bool Fits(const std::vector<Value>& outputs);
  const int32_t* words() const { return reinterpret_cast<const int32_t*>(memory_); }

  unsigned char* const memory_;
  const std::shared_ptr<void> owner_;
};

}  // namespace tenon
