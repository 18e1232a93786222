#pragma once

#include <memory>

#include "engines/onnxruntime/handles.h"

namespace tenon::onnxruntime {

// ONNX Runtime's WebGPU provider has one command encoder and one cache of buffers
// for all sessions of the process, and guards neither: a run beside another
// session's, or beside a value that is bound, copied or freed, crashes. So whatever
// touches a device by that provider takes a turn, one thread at a time.
//
// Waits for the thread whose turn it is; that thread may take it again. What is
// freed meanwhile by ReleaseInTurn goes at the end of the turn.
class DeviceTurn {
 public:
  // Nothing where it is not `needed`.
  explicit DeviceTurn(bool needed);
  ~DeviceTurn();
  DeviceTurn(const DeviceTurn&) = delete;
  DeviceTurn& operator=(const DeviceTurn&) = delete;

 private:
  const bool taken_;
};

// Frees a value in a device's memory, and then `kept`, without waiting: at once, or
// by the thread whose turn it is.
void ReleaseInTurn(ValueHandle value, std::shared_ptr<const void> kept);

}  // namespace tenon::onnxruntime
