#include "engines/onnxruntime/device_turn.h"

#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace tenon::onnxruntime {
namespace {

// The members are destroyed from the last to the first: the value before what it needs.
struct Released {
  std::shared_ptr<const void> kept;
  ValueHandle value;
};

struct Turns {
  // Recursive: freeing a value may free the last of a session, which takes a turn.
  std::recursive_mutex turn;
  std::mutex list_mutex;
  std::vector<Released> released;
};

// Leaked, so that no static destructor takes it from a running thread.
Turns& TheTurns() {
  static auto* turns = new Turns;
  return *turns;
}

bool AnyReleased(Turns* turns) {
  const std::lock_guard<std::mutex> lock(turns->list_mutex);
  return !turns->released.empty();
}

// What is released after the last look, by a thread that found the turn taken, is seen by
// the look after it; a thread that comes later finds the turn free.
void EndTurn(Turns* turns) {
  do {
    std::vector<Released> released;
    {
      const std::lock_guard<std::mutex> lock(turns->list_mutex);
      released.swap(turns->released);
    }
    released.clear();
    turns->turn.unlock();
  } while (AnyReleased(turns) && turns->turn.try_lock());
}

}  // namespace

DeviceTurn::DeviceTurn(bool needed) : taken_(needed) {
  if (taken_) TheTurns().turn.lock();
}

DeviceTurn::~DeviceTurn() {
  if (taken_) EndTurn(&TheTurns());
}

void ReleaseInTurn(ValueHandle value, std::shared_ptr<const void> kept) {
  Turns& turns = TheTurns();
  try {
    const std::lock_guard<std::mutex> lock(turns.list_mutex);
    Released& place = turns.released.emplace_back();
    place.kept = std::move(kept);
    place.value = std::move(value);
  } catch (const std::bad_alloc&) {
    // No memory to put it off.
    const DeviceTurn turn(true);
    value.reset();
    kept.reset();
    return;
  }
  if (turns.turn.try_lock()) EndTurn(&turns);
}

}  // namespace tenon::onnxruntime
