#pragma once

namespace tenon {

// Keeps a process that exits in the middle of an engine's call from crashing.
//
// process.exit() runs no hook of an addon: it goes straight to exit(), which
// destroys the static objects of the engines' libraries while a lane may still
// be inside one. ONNX Runtime and TensorFlow abort there. So where a lane is
// busy when the process exits, the guard ends the process at once, with the
// status it was to exit with and its streams flushed. It comes before the
// engines' own clean-up, because exit handlers run last added first and it is
// added after the libraries were opened.
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
};

}  // namespace tenon
