#include "runtime/exit_guard.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <future>
#include <thread>

#include "runtime/executor.h"
#include "test/test.h"

namespace tenon {
namespace {

// What the process gives that does this in place of the test, or -1 where it crashed.
int StatusOf(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(1);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// A static object of an engine: its end under a busy lane is what must not happen.
struct EngineState {
  ~EngineState() { _exit(99); }
};

}  // namespace

TEST("exit guard: comes before what a run makes after the exit was announced") {
  const int status = StatusOf([] {
    auto& executor = *new Executor(1, 1);
    ExitGuard::Watch();
    std::promise<void> announced;
    std::promise<void> made;
    (void)executor.Submit([&] {
      announced.get_future().wait();
      static const EngineState state;
      made.set_value();
      for (;;) pause();
    });
    ExitGuard::Renew();
    announced.set_value();
    made.get_future().wait();
    std::exit(7);
  });
  CHECK_EQ(status, 7);
}

TEST("exit guard: lets an idle process clean up") {
  const int status = StatusOf([] {
    auto& executor = *new Executor(1, 1);
    ExitGuard::Watch();
    std::promise<void> ran;
    (void)executor.Submit([&] {
      static const EngineState state;
      ran.set_value();
    });
    ran.get_future().wait();
    while (executor.load().running > 0) std::this_thread::yield();
    std::exit(7);
  });
  CHECK_EQ(status, 99);
}

}  // namespace tenon

#endif
