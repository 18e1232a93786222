#include "runtime/lane_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/executor.h"
#include "runtime/fair_share.h"
#include "runtime/model_host.h"
#include "test/gate.h"
#include "test/test.h"

namespace tenon {
namespace {

// Turns of members that always have something to do, in a time of their own.
struct Simulation {
  struct Member : FairShare::Member {
    Member(double weight, double takes) : FairShare::Member(weight), takes(takes) {}
    const double takes;
    double used = 0;
    int turns = 0;
  };

  Member* Add(double weight, double takes) {
    members.emplace_back(weight, takes);
    share.Add(&members.back());
    return &members.back();
  }
  // `lanes` turns go on at once, each as long as its member's.
  void Run(int turns, size_t lanes = 1) {
    struct Turn {
      Member* member;
      double charged;
      double ends;
    };
    std::vector<Turn> running;
    double now = 0;
    while (turns-- > 0) {
      if (running.size() == lanes) {
        const auto first =
            std::min_element(running.begin(), running.end(),
                             [](const Turn& a, const Turn& b) { return a.ends < b.ends; });
        now = first->ends;
        share.End(first->member, first->charged, first->member->takes);
        running.erase(first);
      }
      auto* const member = static_cast<Member*>(share.Next());
      ++member->turns;
      member->used += member->takes;
      running.push_back({member, share.Begin(member), now + member->takes});
    }
    for (const Turn& turn : running) share.End(turn.member, turn.charged, turn.member->takes);
  }

  FairShare share;
  std::deque<Member> members;
};

bool Near(double value, double expected, double part) {
  return value > expected * (1 - part) && value < expected * (1 + part);
}

}  // namespace

TEST("fair share: equal weights get equal time, whatever single turns take") {
  Simulation simulation;
  auto* const heavy = simulation.Add(1, 50'000'000);
  auto* const light = simulation.Add(1, 1'000'000);
  simulation.Run(5'000);
  CHECK(Near(heavy->used / light->used, 1, 0.05));
  CHECK(light->turns > 45 * heavy->turns);
}

TEST("fair share: time goes by weight, on one lane and on several") {
  for (const size_t lanes : {size_t{1}, size_t{4}}) {
    Simulation simulation;
    auto* const three = simulation.Add(3, 2'000'000);
    auto* const one = simulation.Add(1, 5'000'000);
    auto* const six = simulation.Add(6, 700'000);
    simulation.Run(20'000, lanes);
    CHECK(Near(three->used / one->used, 3, 0.05));
    CHECK(Near(six->used / one->used, 6, 0.05));
  }
}

TEST("fair share: who comes back has saved nothing up, and owes nothing either") {
  Simulation simulation;
  auto* const steady = simulation.Add(1, 1'000'000);
  auto* const late = simulation.Add(1, 1'000'000);
  simulation.share.Remove(late);
  simulation.Run(1'000);
  simulation.share.Add(late);
  const int before = steady->turns;
  simulation.Run(100);
  CHECK(steady->turns - before >= 48 && late->turns >= 48);
}

TEST("fair share: one with many turns at once is charged before they end") {
  FairShare share;
  FairShare::Member first(1);
  FairShare::Member second(1);
  share.Add(&first);
  share.End(&first, share.Begin(&first), 1'000);
  share.Add(&second);
  int turns_of_second = 0;
  for (int i = 0; i < 8; ++i) {
    FairShare::Member* const next = share.Next();
    if (next == &second) ++turns_of_second;
    (void)share.Begin(next);
  }
  CHECK_EQ(turns_of_second, 4);
}

TEST("fair share: the furthest behind is found among many that come and go") {
  std::mt19937 random(20260102);
  FairShare share;
  std::deque<FairShare::Member> members;
  std::vector<bool> present(50);
  for (size_t i = 0; i < present.size(); ++i) members.emplace_back(1 + static_cast<double>(i % 7));
  size_t count = 0;
  for (int i = 0; i < 20'000; ++i) {
    const size_t at = random() % present.size();
    if (!present[at]) {
      share.Add(&members[at]);
      ++count;
    } else if (random() % 2 == 0) {
      share.Remove(&members[at]);
      --count;
    } else {
      share.End(&members[at], share.Begin(&members[at]), static_cast<double>(random() % 1'000));
      continue;
    }
    present[at] = !present[at];
    FairShare::Member* const next = share.Next();
    CHECK_EQ(next == nullptr, count == 0);
    for (size_t m = 0; m < present.size(); ++m) CHECK(next != &members[m] || present[m]);
  }
}

TEST("lane pool: executors start no more lanes than the pool has, and one alone uses all") {
  std::atomic<int> started{0};
  const auto pool = LanePool::Create({.lanes = 3, .start = [&](std::function<void()> run) {
                                        ++started;
                                        return std::thread(std::move(run));
                                      }});
  std::vector<std::unique_ptr<Executor>> executors;
  for (int i = 0; i < 10; ++i) executors.push_back(std::make_unique<Executor>(pool, 100));
  Gate gate;
  for (int i = 0; i < 3; ++i) CHECK_OK(executors[0]->Submit([&] { gate.Pass(); }));
  gate.AwaitHeld(3);
  CHECK_EQ(executors[0]->load().running, size_t{3});
  std::atomic<int> ran{0};
  for (auto& executor : executors) CHECK_OK(executor->Submit([&] { ++ran; }));
  CHECK_EQ(pool->stats().waiting, size_t{10});
  CHECK_EQ(pool->stats().executors, size_t{10});
  gate.Open();
  while (pool->stats().waiting + pool->stats().running > 0) std::this_thread::yield();
  CHECK_EQ(ran.load(), 10);
  CHECK_EQ(started.load(), 3);
  uint64_t runs = 0;
  for (const auto& lane : pool->stats().lanes) runs += lane.runs;
  CHECK_EQ(runs, uint64_t{13});
}

TEST("lane pool: executors with work take turns, each in its own order") {
  const auto pool = LanePool::Create({.lanes = 1});
  Executor blocker(pool, 10);
  Executor first(pool, 10);
  Executor second(pool, 10);
  Gate gate;
  CHECK_OK(blocker.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  std::mutex mutex;
  std::vector<int> order;
  const auto note = [&](int number) {
    return [&, number] {
      std::lock_guard<std::mutex> lock(mutex);
      order.push_back(number);
    };
  };
  for (int i = 0; i < 3; ++i) CHECK_OK(first.Submit(note(10 + i)));
  CHECK_OK(first.Submit(note(19), 1));
  CHECK_OK(second.Submit(note(20)));
  gate.Open();
  while (pool->stats().waiting + pool->stats().running > 0) std::this_thread::yield();
  CHECK_EQ(order.size(), size_t{5});
  // The second one's is charged nothing yet when the first one's turn is over.
  CHECK((order == std::vector<int>{19, 20, 10, 11, 12}));
}

TEST("lane pool: each executor's queue has its own bound") {
  const auto pool = LanePool::Create({.lanes = 1});
  Executor one(pool, 1);
  Executor other(pool, 2);
  Gate gate;
  CHECK_OK(one.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  const auto waiting = one.Submit([] {});
  CHECK_OK(waiting);
  CHECK(one.Submit([] {}).status().code() == StatusCode::kQueueFull);
  CHECK_OK(other.Submit([] {}));
  CHECK_OK(other.Submit([] {}));
  CHECK(other.Submit([] {}).status().code() == StatusCode::kQueueFull);
  CHECK(one.Remove(waiting.value()));
  CHECK_OK(one.Submit([] {}));
  gate.Open();
}

TEST("lane pool: what waits elsewhere takes the lanes that are free") {
  const auto pool = LanePool::Create({.lanes = 1});
  Executor one(pool, 0);
  Executor other(pool, 0);
  Gate gate;
  // Both before the lane has come round to the first.
  CHECK_OK(one.Submit([&] { gate.Pass(); }));
  CHECK(other.Submit([] {}).status().code() == StatusCode::kQueueFull);
  gate.Open();
}

TEST("lane pool: an executor ends with its tasks, the others go on") {
  const auto pool = LanePool::Create({.lanes = 1});
  Executor stays(pool, 10);
  auto ends = std::make_unique<Executor>(pool, 10);
  auto held = std::make_shared<int>(0);
  Gate gate;
  CHECK_OK(ends->Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  bool dropped_ran = false;
  for (int i = 0; i < 5; ++i) CHECK_OK(ends->Submit([held, &dropped_ran] { dropped_ran = true; }));
  std::atomic<bool> ran{false};
  CHECK_OK(stays.Submit([&] { ran = true; }));
  std::thread ending([&] { ends.reset(); });
  while (held.use_count() > 1) std::this_thread::yield();
  CHECK_EQ(pool->stats().executors, size_t{2});  // its running task holds it
  gate.Open();
  ending.join();
  while (!ran) std::this_thread::yield();
  CHECK(!dropped_ran);
  CHECK_EQ(pool->stats().executors, size_t{1});
}

TEST("lane pool: a lane that does not start is an error only where there is none") {
  std::atomic<int> left{1};
  const auto start = [&](std::function<void()> run) {
    if (left-- <= 0) {
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    }
    return std::thread(std::move(run));
  };
  const auto pool = LanePool::Create({.lanes = 4, .start = start});
  Executor executor(pool, 10);
  Gate gate;
  CHECK_OK(executor.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  std::atomic<bool> ran{false};
  CHECK_OK(executor.Submit([&] { ran = true; }));
  gate.Open();
  while (!ran) std::this_thread::yield();
  CHECK_EQ(pool->stats().lanes.size(), size_t{1});

  const auto none = LanePool::Create({.lanes = 1, .start = start});
  Executor refused(none, 10);
  auto held = std::make_shared<int>(0);
  CHECK(refused.Submit([held] {}).status().code() == StatusCode::kOutOfMemory);
  CHECK_EQ(held.use_count(), 1);
  CHECK_EQ(refused.load().waiting, size_t{0});
  left = 1;
  std::atomic<bool> later{false};
  CHECK_OK(refused.Submit([&] { later = true; }));
  while (!later) std::this_thread::yield();
}

TEST("lane pool: lanes that spin take what comes, and end") {
  std::atomic<int> ran{0};
  {
    const auto pool = LanePool::Create({.lanes = 2, .spin = std::chrono::microseconds(200)});
    Executor one(pool, 10'000);
    Executor other(pool, 10'000);
    for (int i = 0; i < 2'000; ++i) {
      CHECK_OK((i % 2 == 0 ? one : other).Submit([&] { ++ran; }));
      if (i % 16 == 0) {
        while (ran.load() <= i) std::this_thread::yield();
      }
    }
    while (ran.load() < 2'000) std::this_thread::yield();
  }
  CHECK_EQ(ran.load(), 2'000);
}

TEST("lane pool: many threads submit to, remove from and end executors at once") {
  std::atomic<int> ran{0};
  std::atomic<int> removed{0};
  std::atomic<int> submitted{0};
  {
    const auto pool = LanePool::Create({.lanes = 3, .spin = std::chrono::microseconds(20)});
    Executor shared(pool, 1'000'000, 5);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < 20; ++round) {
          Executor own(pool, 1'000'000, 1 + t);
          for (int i = 0; i < 50; ++i) {
            Executor& executor = i % 2 == 0 ? own : shared;
            const auto ticket = executor.Submit([&] { ++ran; }, i % 3);
            if (!ticket.ok()) continue;
            ++submitted;
            if (i % 5 == 0 && executor.Remove(ticket.value())) ++removed;
            (void)pool->stats();
          }
          while (own.load().waiting > 0) std::this_thread::yield();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    while (shared.load().waiting > 0) std::this_thread::yield();
  }
  CHECK_EQ(ran.load() + removed.load(), submitted.load());
  CHECK_EQ(submitted.load(), 4 * 20 * 50);
}

TEST("lane pool: its last holder may be an executor that ends on a lane of another pool") {
  Executor outer(1, 4);
  auto inner = std::make_unique<Executor>(LanePool::Create({.lanes = 2}), 4);
  std::atomic<int> ran{0};
  CHECK_OK(inner->Submit([&] { ++ran; }));
  while (inner->load().waiting > 0) std::this_thread::yield();
  std::atomic<bool> ended{false};
  auto holder = std::make_shared<std::unique_ptr<Executor>>(std::move(inner));
  CHECK_OK(outer.Submit([&, holder] {
    holder->reset();
    ended = true;
  }));
  while (!ended) std::this_thread::yield();
  CHECK_EQ(ran.load(), 1);
}

}  // namespace tenon
