#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tenon::tensorflow {

// Where the operations of a signature run: on TensorFlow's inter-op threads, as
// they do by default, or on the thread that called.
//
// Handing a graph to an inter-op thread and waiting for it costs about 10 µs while
// that thread still spins, and 30 to 100 µs once it sleeps; a graph of three
// operations itself costs 3 µs (half_plus_two, TensorFlow 2.21, two cores, raw C
// calls: 13.3 µs by the pool, 2.9 µs on the caller's thread; 46 and 29 µs after a
// millisecond of rest). Against it stand the branches of a graph that could have
// run at once, and the stack: on the caller's thread TensorFlow recurses where it
// would have handed an operation over. Both grow with the graph, so the measured
// time of the runs decides: the caller's thread is tried where a run was short,
// and kept for as long as it is no slower than the pool was.
//
// Any number of threads may use it at once. They may then overwrite each other's
// findings, of which each is as good as the other.
class RunPlace {
 public:
  // Longer runs gain too little: digits_cnn_tf takes 244 µs by the pool, 202 here.
  static constexpr int64_t kMaxNanos = 100'000;
  // Runs by the pool between two trials that failed, at most.
  static constexpr uint32_t kMaxPause = 1024;

  bool here() const { return here_.load(std::memory_order_relaxed); }

  // A run took `nanos`, on the caller's thread if `here`.
  void Note(bool here, int64_t nanos) {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    if (!here) {
      pool_nanos_.store(nanos, kRelaxed);
      if (nanos > kMaxNanos) return;
      const uint32_t left = pause_left_.load(kRelaxed);
      if (left > 0) return pause_left_.store(left - 1, kRelaxed);
      here_.store(true, kRelaxed);
      return;
    }
    if (nanos <= kMaxNanos && nanos <= pool_nanos_.load(kRelaxed)) {
      // A lasting store would make the lanes of a session fight for the line.
      if (pause_.load(kRelaxed) != 1) pause_.store(1, kRelaxed);
      return;
    }
    // Slower than the pool, or only interrupted. One good run tells, and a graph
    // that has none is tried less and less often.
    const uint32_t pause = pause_.load(kRelaxed);
    pause_left_.store(pause, kRelaxed);
    pause_.store(std::min(2 * pause, kMaxPause), kRelaxed);
    here_.store(false, kRelaxed);
  }

 private:
  std::atomic<bool> here_{false};
  std::atomic<int64_t> pool_nanos_{0};  // of the last run there
  std::atomic<uint32_t> pause_{1};      // pool runs before the next trial, should this one fail
  std::atomic<uint32_t> pause_left_{0};
};

}  // namespace tenon::tensorflow
