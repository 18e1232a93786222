#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tenon {

// Durations in nanoseconds, counted in buckets an eighth of a power of two wide,
// so that what is read from it is at most 12.5 % too large. Any thread may add
// while another reads; a reading is then between two states.
class Histogram {
 public:
  struct Summary {
    uint64_t count;
    double mean_micros;
    double p50_micros;
    double p90_micros;
    double p99_micros;
    double max_micros;
  };

  void Add(uint64_t nanoseconds) {
    counts_[Bucket(nanoseconds)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(nanoseconds, std::memory_order_relaxed);
    uint64_t max = max_.load(std::memory_order_relaxed);
    while (nanoseconds > max &&
           !max_.compare_exchange_weak(max, nanoseconds, std::memory_order_relaxed)) {
    }
  }

  Summary Summarize() const {
    std::array<uint64_t, kBuckets> counts;
    uint64_t total = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      counts[i] = counts_[i].load(std::memory_order_relaxed);
      total += counts[i];
    }
    const double max = static_cast<double>(max_.load(std::memory_order_relaxed)) / 1e3;
    const auto quantile = [&](double part) {
      uint64_t left = static_cast<uint64_t>(part * static_cast<double>(total));
      for (size_t i = 0; i < kBuckets; ++i) {
        if (left < counts[i]) return std::min(static_cast<double>(UpperBound(i)) / 1e3, max);
        left -= counts[i];
      }
      return max;
    };
    const double sum = static_cast<double>(sum_.load(std::memory_order_relaxed)) / 1e3;
    return {total,          total == 0 ? 0 : sum / static_cast<double>(total),
            quantile(0.5),  quantile(0.9),
            quantile(0.99), max};
  }

 private:
  static constexpr int kSubBits = 3;
  static constexpr size_t kBuckets = (64 - kSubBits) << kSubBits;

  static size_t Bucket(uint64_t value) {
    const int width = std::bit_width(value);
    if (width <= kSubBits) return value;
    const int shift = width - kSubBits - 1;
    return (static_cast<size_t>(shift + 1) << kSubBits) +
           ((value >> shift) & ((1u << kSubBits) - 1));
  }

  static uint64_t UpperBound(size_t bucket) {
    if (bucket < (size_t{2} << kSubBits)) return bucket;
    const size_t shift = (bucket >> kSubBits) - 1;
    const uint64_t base = (uint64_t{1} << kSubBits) + (bucket & ((1u << kSubBits) - 1));
    return ((base + 1) << shift) - 1;
  }

  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
  std::atomic<uint64_t> sum_{0};
  std::atomic<uint64_t> max_{0};
};

}  // namespace tenon
