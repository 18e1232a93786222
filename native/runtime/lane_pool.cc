#include "runtime/lane_pool.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "platform/niceness.h"
#include "runtime/executor.h"
#include "runtime/exit_guard.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace tenon {
namespace {

// Tells the core that this is a loop of waiting.
void Pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ __volatile__("yield");
#endif
}

// How often the clock is read while spinning.
constexpr int kPausesPerLook = 16;

std::atomic<uint64_t> last_lane{0};

// A lane gives way once it has worked for so long, with runs that take so long on average.
// Shorter ones end before anybody misses the CPU, and their results would be late: a thread
// that gives way is sent off its CPU by the one it wakes, and finds the next task later
// (19 µs instead of 13 for the hand-off of a tiny model where both share a CPU).
constexpr std::chrono::milliseconds kLeastBusy{10};
constexpr std::chrono::milliseconds kLongRun{1};

}  // namespace

std::shared_ptr<LanePool> LanePool::Create(LanePoolOptions options) {
  options.lanes = std::max<size_t>(options.lanes, 1);
  if (!options.start) {
    options.start = [](std::function<void()> run) { return std::thread(std::move(run)); };
  }
  return std::shared_ptr<LanePool>(new LanePool(std::move(options)));
}

LanePool::~LanePool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    submitted_.fetch_add(1, std::memory_order_relaxed);
    for (Lane* const lane : asleep_) lane->is_asleep = false;
  }
  for (const auto& lane : lanes_) lane->woken.notify_one();
  for (const auto& lane : lanes_) lane->thread.join();
}

LanePool::Stats LanePool::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  Stats stats{waiting_, running_, executors_, {}};
  const Clock::time_point now = Clock::now();
  for (const auto& lane : lanes_) {
    const auto current = lane->is_busy ? now - lane->since : Clock::duration{0};
    stats.lanes.push_back({lane->id, lane->runs, lane->busy + current, lane->is_busy});
  }
  return stats;
}

size_t LanePool::FreeLanes() const { return options_.lanes - running_; }

Status LanePool::Wake(Lane** woken) {
  submitted_.fetch_add(1, std::memory_order_relaxed);
  if (waiting_ <= looking_) return {};
  if (asleep_.empty()) return lanes_.size() < options_.lanes ? StartLane() : Status();
  *woken = asleep_.back();
  asleep_.pop_back();
  (*woken)->is_asleep = false;
  ++looking_;
  return {};
}

// The only place where lanes come from.
Status LanePool::StartLane() {
  lanes_.push_back(std::make_unique<Lane>());
  Lane* const lane = lanes_.back().get();
  lane->id = ++last_lane;
  try {
    lane->thread = options_.start([this, lane] { RunLane(lane); });
    ++looking_;
  } catch (const std::system_error& error) {
    lanes_.pop_back();
    if (lanes_.empty()) {
      return {StatusCode::kOutOfMemory,
              std::string("expected a thread for the model, but none starts: ") + error.what()};
    }
  }
  return {};
}

void LanePool::RunLane(Lane* lane) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    AwaitWork(lane, &lock);
    if (stopping_) return;
    --looking_;
    Executor* const executor = static_cast<Executor*>(fair_share_.Next());
    Executor::Task task = executor->Take();
    const double charged = fair_share_.Begin(executor);
    --waiting_;
    ++running_;
    lane->is_busy = true;
    lane->since = Clock::now();
    lock.unlock();
    executor->Enter();
    {
      const ExitGuard::Busy busy;
      task();
      task = nullptr;  // what the task holds is released outside the lock
    }
    Executor::Leave();
    lock.lock();
    const Clock::duration taken = Clock::now() - lane->since;
    lane->is_busy = false;
    lane->busy += taken;
    ++lane->runs;
    --running_;
    const bool gives_way = GivesWay(lane);
    fair_share_.End(executor, charged,
                    static_cast<double>(std::chrono::nanoseconds(taken).count()));
    if (executor->EndOne()) ended_.notify_all();
    if (gives_way) {
      lock.unlock();
      GiveWay(options_.niceness);
      lock.lock();
    }
    ++looking_;
    if (fair_share_.Next() == nullptr && options_.spin.count() > 0) Spin(&lock);
  }
}

// Whether it is to give way from now on.
bool LanePool::GivesWay(Lane* lane) const {
  if (lane->gives_way || options_.niceness == 0) return false;
  if (lane->busy < kLeastBusy || lane->busy < lane->runs * kLongRun) return false;
  lane->gives_way = true;
  return true;
}

// Returns with a task there, or where the pool ends.
void LanePool::AwaitWork(Lane* lane, std::unique_lock<std::mutex>* lock) {
  while (!stopping_ && fair_share_.Next() == nullptr) {
    --looking_;  // again by whoever wakes it
    lane->is_asleep = true;
    asleep_.push_back(lane);
    lane->woken.wait(*lock, [lane] { return !lane->is_asleep; });
  }
}

void LanePool::Spin(std::unique_lock<std::mutex>* lock) {
  if (is_spinning_ || stopping_) return;
  is_spinning_ = true;
  const uint64_t seen = submitted_.load(std::memory_order_relaxed);
  lock->unlock();
  const Clock::time_point end = Clock::now() + options_.spin;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) Pause();
  } while (submitted_.load(std::memory_order_relaxed) == seen && Clock::now() < end);
  lock->lock();
  is_spinning_ = false;
}

}  // namespace tenon
