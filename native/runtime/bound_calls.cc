#include "runtime/bound_calls.h"

#include <algorithm>

namespace tenon {

BoundCalls::Call* BoundCalls::Find(std::span<const int32_t> key) {
  for (size_t i = 0; i < count_; ++i) {
    if (std::ranges::equal(calls_[i].key, key)) return &calls_[i];
  }
  return nullptr;
}

bool BoundCalls::ComesAgain(std::span<const int32_t> key) {
  if (std::ranges::equal(last_, key)) return true;
  last_.assign(key.begin(), key.end());
  return false;
}

BoundCalls::Call* BoundCalls::Add(std::span<const int32_t> key) {
  Call* call;
  if (count_ < kMost) {
    call = &calls_[count_++];
  } else {
    call = &calls_[oldest_];
    oldest_ = (oldest_ + 1) % kMost;
  }
  *call = {};
  call->key.assign(key.begin(), key.end());
  return call;
}

void BoundCalls::Clear() {
  for (Call& call : calls_) call = {};
  count_ = 0;
  oldest_ = 0;
  last_.clear();
}

}  // namespace tenon
