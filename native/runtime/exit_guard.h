#pragma once

namespace tenon {

// Keeps a process that exits in the middle of an engine's call from crashing.
//
// process.exit() runs no hook of an addon: it goes straight to exit(), which
// destroys the static objects of the engines' libraries while a lane may still
// be inside one. ONNX Runtime and TensorFlow abort there. So where a lane is
// busy when the process exits, the guard ends the process at once, with the
// status it was to exit with and its streams flushed; where none is, none begins
// a task any more. It has to come before the engines' own clean-up, and exit
// handlers run last added first: see Renew.
class ExitGuard {
 public:
  // Around a task of a lane.
  class Busy {
   public:
    Busy();
    ~Busy();
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
  };

  // To be called when an environment ends, or the process is about to exit: puts
  // the guard before the clean-up of everything that the engines made until now.
  // They make static objects in any load and any run.
  static void Renew();
};

}  // namespace tenon
