#pragma once

namespace tenon {

// Keeps a process that exits in the middle of an engine's call from crashing.
//
// process.exit() runs no hook of an addon: it goes straight to exit(), which
// destroys the static objects of the engines' libraries while a lane, or an
// engine's own thread on its behalf, may still use them. So where a lane is busy
// when the process exits, the guard ends the process at once, with the status it
// was to exit with and its streams flushed; where none is, none begins a task any
// more.
//
// Exit handlers run last added first, and the guard has to come before the
// engines' clean-up. They add some whenever a first run makes something: the
// first matrix product in TensorFlow adds a dozen for oneDNN's tables, from an
// inter-op thread, at any time after the run began. The guard therefore adds its
// handler when exit() has begun already: from the destructor of a thread-local
// object, which exit() calls before all handlers.
class ExitGuard {
 public:
  // Around a task of a lane, and the release of what it held.
  class Busy {
   public:
    Busy();
    ~Busy();
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
  };

  // To be called on the thread of every environment. The main thread is the one
  // that exits.
  static void Watch();

  // To be called when an environment ends, or the process is about to exit: adds
  // the handler for a process whose main thread has no environment of ours, and
  // for platforms whose exit() knows nothing of thread-local objects.
  static void Renew();
};

}  // namespace tenon
