#include "runtime/exit_guard.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sys/syscall.h>
#endif
#if defined(__APPLE__)
#include <pthread.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace tenon {
namespace {

// Tasks under way; kExiting is added once the process exits.
std::atomic<int64_t> busy{0};
constexpr int64_t kExiting = int64_t{1} << 32;

bool IsBusy() { return (busy.load() & (kExiting - 1)) > 0; }

#if defined(_WIN32)

// Windows ends all other threads before it runs exit handlers of libraries.
void Install() {}
void Pin() {}
void WaitForTheEnd() {}

#else

// The engines are about to destroy what a task needs.
[[noreturn]] void WaitForTheEnd() {
  for (;;) pause();
}

#if defined(__GLIBC__)

void EndIfBusy(int status, void*) {
  // From here on no lane begins a task, see Busy.
  if ((busy.fetch_or(kExiting) & (kExiting - 1)) == 0) return;
  std::fflush(nullptr);
  _exit(status);
}

void Install() { on_exit(EndIfBusy, nullptr); }

#else

// Without the exit status the process cannot be ended here, so calls that were
// told to stop get a moment to do so.
constexpr int kWaits = 500;
constexpr std::chrono::milliseconds kWait{10};

void WaitWhileBusy() {
  if ((busy.fetch_or(kExiting) & kExiting) != 0) return;  // has waited already
  for (int i = 0; i < kWaits && IsBusy(); ++i) std::this_thread::sleep_for(kWait);
}

void Install() { std::atexit(WaitWhileBusy); }

#endif

bool IsMainThread() {
#if defined(__APPLE__)
  return pthread_main_np() != 0;
#else
  return syscall(SYS_gettid) == getpid();
#endif
}

std::atomic<bool> is_main_watched{false};

// exit() destroys the thread-local objects of its thread before anything else.
struct AtExit {
  ~AtExit() {
    if (IsMainThread()) Install();
  }
};

// How old the newest handler may be: this, and later a part of the time that has passed.
constexpr std::chrono::milliseconds kLeastAge{1};
constexpr int kAgePart = 16;

// Where the main thread is not watched, the process may exit at any time after a
// worker has ended, and what the worker left behind may add handlers until then.
void Pin() {
  static std::atomic<bool> is_pinned{false};
  if (is_main_watched || !IsBusy() || is_pinned.exchange(true)) return;
  try {
    std::thread([] {
      const auto start = std::chrono::steady_clock::now();
      while (IsBusy()) {
        Install();
        const std::chrono::nanoseconds passed = std::chrono::steady_clock::now() - start;
        std::this_thread::sleep_for(
            std::max<std::chrono::nanoseconds>(kLeastAge, passed / kAgePart));
      }
      is_pinned = false;
    }).detach();
  } catch (const std::system_error&) {
    is_pinned = false;
  }
}

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

void ExitGuard::Watch() {
#if !defined(_WIN32)
  static thread_local const AtExit at_exit;
  if (IsMainThread()) is_main_watched = true;
#endif
}

void ExitGuard::Renew() {
  Install();
  Pin();
}

}  // namespace tenon
