#include "runtime/exit_guard.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#if defined(__linux__) && defined(__GLIBC__)
#include <unistd.h>
#define TENON_HAS_ON_EXIT
#elif !defined(_WIN32)
#include <time.h>
#endif

namespace tenon {
namespace {

std::atomic<int> busy{0};

#ifdef TENON_HAS_ON_EXIT

void EndIfBusy(int status, void*) {
  if (busy.load() == 0) return;
  std::fflush(nullptr);
  _exit(status);
}

void Install() { on_exit(EndIfBusy, nullptr); }

#elif defined(_WIN32)

// Windows ends all other threads before it runs exit handlers of libraries.
void Install() {}

#else

// Without the exit status the process cannot be ended here, so calls that were
// told to stop get a moment to do so.
constexpr int kWaits = 500;
constexpr timespec kWait = {0, 10'000'000};

void WaitWhileBusy() {
  for (int i = 0; i < kWaits && busy.load() > 0; ++i) nanosleep(&kWait, nullptr);
}

void Install() { std::atexit(WaitWhileBusy); }

#endif

}  // namespace

ExitGuard::Busy::Busy() { busy.fetch_add(1); }

ExitGuard::Busy::~Busy() {
  // After the first task: the engine it opened has added its own handlers by now.
  static std::once_flag installed;
  std::call_once(installed, Install);
  busy.fetch_sub(1);
}

}  // namespace tenon
