#include "runtime/exit_guard.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#if defined(__linux__) && defined(__GLIBC__)
#include <unistd.h>
#define TENON_HAS_ON_EXIT
#elif !defined(_WIN32)
#include <time.h>
#endif

namespace tenon {
namespace {

// Tasks under way; kExiting is added once the process exits.
std::atomic<int64_t> busy{0};
constexpr int64_t kExiting = int64_t{1} << 32;

constexpr int kMoments = 20;
constexpr std::chrono::milliseconds kMoment{5};

#ifdef TENON_HAS_ON_EXIT

void EndIfBusy(int status, void*) {
  // From here on no lane begins a task, see Busy.
  if ((busy.fetch_or(kExiting) & (kExiting - 1)) == 0) return;
  std::fflush(nullptr);
  _exit(status);
}

// The engines are about to destroy what a task needs.
[[noreturn]] void WaitForTheEnd() {
  for (;;) pause();
}

void Install() { on_exit(EndIfBusy, nullptr); }

#elif defined(_WIN32)

// Windows ends all other threads before it runs exit handlers of libraries.
void Install() {}

void WaitForTheEnd() {}

#else

// Without the exit status the process cannot be ended here, so calls that were
// told to stop get a moment to do so.
constexpr int kWaits = 500;
constexpr timespec kWait = {0, 10'000'000};

void WaitWhileBusy() {
  if ((busy.fetch_or(kExiting) & kExiting) != 0) return;  // has waited already
  for (int i = 0; i < kWaits && (busy.load() & (kExiting - 1)) > 0; ++i) nanosleep(&kWait, nullptr);
}

[[noreturn]] void WaitForTheEnd() {
  for (;;) nanosleep(&kWait, nullptr);
}

void Install() { std::atexit(WaitWhileBusy); }

#endif

}  // namespace

ExitGuard::Busy::Busy() {
  if ((busy.fetch_add(1) & kExiting) == 0) return;
  busy.fetch_sub(1);
  WaitForTheEnd();
}

ExitGuard::Busy::~Busy() {
  // After the first task: the engine it opened has added its own handlers by now.
  static std::once_flag installed;
  std::call_once(installed, Install);
  busy.fetch_sub(1);
}

void ExitGuard::Renew() {
  // A first run makes static objects of the engine, which would go before the
  // guard if they came after it: it gets a moment to have made them.
  for (int i = 0; i < kMoments && (busy.load() & (kExiting - 1)) > 0; ++i) {
    std::this_thread::sleep_for(kMoment);
  }
  Install();
}

}  // namespace tenon
