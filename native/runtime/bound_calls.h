#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/value.h"
#include "engines/session.h"

namespace tenon {

// Calls that came again and were bound: a caller who makes the same call over and
// over, with feeds and outputs at the same places, is spared the making of the
// engine's values each time. A call is told from others by a key, the words that
// describe everything about it but the contents of its feeds.
//
// For one thread at a time.
class BoundCalls {
 public:
  struct Call {
    std::vector<int32_t> key;
    size_t signature = 0;
    uint64_t feed_bytes = 0;
    // Null: the call was found not to be worth binding, or not to stay as it was.
    std::unique_ptr<BoundRun> run;
    // The memory its outputs are written into, in order.
    std::vector<Value> outputs;
  };

  // Null where the call is not known.
  Call* Find(std::span<const int32_t> key);

  // Whether the call, which is not known, is the one that was asked for last:
  // binding costs as much as several calls, and shapes may change with each.
  bool ComesAgain(std::span<const int32_t> key);

  // In place of the one that was added longest ago, where there are as many as are kept.
  Call* Add(std::span<const int32_t> key);

  void Clear();

 private:
  // Models are called with few shapes; each costs a comparison.
  static constexpr size_t kMost = 4;

  std::array<Call, kMost> calls_;
  size_t count_ = 0;
  size_t oldest_ = 0;
  std::vector<int32_t> last_;
};

}  // namespace tenon
