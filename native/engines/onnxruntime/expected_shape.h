#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/model_info.h"
#include "core/shape.h"
#include "engines/session.h"

namespace tenon::onnxruntime {

// The shape that an output will have, from what the model declares: each of its
// sizes is declared, or has the symbol of a feed's size.
//
// What a model declares may be wrong, so it is believed once a run has borne it
// out, and never again once a run has not. Thread-safe.
class ExpectedShape {
 public:
  // Expects nothing where `output` is not a tensor of fixed-size elements or has
  // a size that no input tells.
  void Declare(const Signature& signature, const ValueSpec& output);

  // Sets `shape`; false where it has nothing to say.
  bool Find(const RunRequest& request, Shape* shape) const;
  bool believed() const { return belief_.load(std::memory_order_relaxed) == kBelieved; }
  // Whether a run should be compared with what was expected of it.
  bool in_doubt() const { return belief_.load(std::memory_order_relaxed) == kInDoubt; }
  // Takes note of what a run gave.
  void Compare(const RunRequest& request, const Shape& shape);
  void Doubt() {
    if (believed()) belief_.store(kInDoubt, std::memory_order_relaxed);
  }

 private:
  enum Belief : uint8_t { kNothing, kInDoubt, kBelieved };
  struct Size {
    int64_t declared = -1;  // where it is not negative
    size_t input = 0;       // else size `axis` of this input
    size_t axis = 0;
  };

  std::vector<Size> sizes_;
  std::atomic<Belief> belief_ = kNothing;
};

}  // namespace tenon::onnxruntime
