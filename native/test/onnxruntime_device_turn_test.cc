#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "engines/onnxruntime/device_turn.h"
#include "test/gate.h"
#include "test/test.h"

namespace tenon::onnxruntime {
namespace {

// Calls `freed` where it is freed.
template <typename Freed>
std::shared_ptr<const void> Kept(const Freed& freed) {
  static const int thing = 0;
  return std::shared_ptr<const void>(&thing, [freed](const void*) { freed(); });
}

}  // namespace

TEST("onnxruntime device turn: frees at once where nobody has a turn") {
  bool freed = false;
  ReleaseInTurn(nullptr, Kept([&freed] { freed = true; }));
  CHECK(freed);
}

TEST("onnxruntime device turn: frees at its end what another thread released meanwhile") {
  Gate gate;
  std::atomic<bool> freed = false;
  std::thread::id freed_by;
  std::thread holder([&gate] {
    const DeviceTurn turn(true);
    gate.Pass();
  });
  gate.AwaitHeld();
  ReleaseInTurn(nullptr, Kept([&] {
                  freed_by = std::this_thread::get_id();
                  freed = true;
                }));
  CHECK(!freed);
  const std::thread::id holder_id = holder.get_id();
  gate.Open();
  holder.join();
  CHECK(freed);
  CHECK(freed_by == holder_id);
}

TEST("onnxruntime device turn: what is freed may take a turn and release more") {
  bool freed = false;
  {
    const DeviceTurn turn(true);
    ReleaseInTurn(nullptr, Kept([&freed] {
                    const DeviceTurn inner(true);
                    ReleaseInTurn(nullptr, Kept([&freed] { freed = true; }));
                  }));
  }
  CHECK(freed);
}

TEST("onnxruntime device turn: one thread at a time, and every release is made") {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  int guarded = 0;
  std::atomic<int> freed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        {
          const DeviceTurn turn(true);
          ++guarded;
        }
        ReleaseInTurn(nullptr, Kept([&freed] { ++freed; }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(guarded, kThreads * kRounds);
  CHECK_EQ(freed.load(), kThreads * kRounds);
}

}  // namespace tenon::onnxruntime
