#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace tenon {

// Which memory JavaScript holds that is really Tenon's, by its first byte, and
// JavaScript's share of it. A buffer found here may be given to an engine as it
// is: with a share of its own, whatever JavaScript does to its ArrayBuffer
// meanwhile.
//
// One per process, because engines' threads and several environments meet here.
class MemoryRegistry {
 public:
  // Tells an entry from later ones at the same place.
  using Number = uintptr_t;

  static MemoryRegistry& Get();

  // Keeps `owner` until Remove or Release.
  Number Add(void* data, size_t byte_length, std::shared_ptr<void> owner);
  // JavaScript's share goes with its ArrayBuffer. Nothing where it went before.
  void Remove(void* data, Number number);
  // Likewise ahead of the ArrayBuffer's own end, for one that was detached.
  // False, and nothing happens, where the memory is not Tenon's.
  bool Release(void* data);

  // The owner of the memory that starts at `data`; null where it is not Tenon's.
  std::shared_ptr<void> Find(void* data) const;

  struct Totals {
    size_t count;
    size_t byte_length;
  };
  Totals totals() const;

 private:
  struct Entry {
    std::shared_ptr<void> owner;
    size_t byte_length;
    Number number;
  };
  // Several ArrayBuffers over one memory are not made, but would be safe.
  using Entries = std::unordered_multimap<void*, Entry>;

  // Takes an entry out; its owner is to be dropped outside the lock.
  std::shared_ptr<void> Take(Entries::iterator entry);

  mutable std::mutex mutex_;
  Entries entries_;
  Number last_ = 0;
  size_t byte_length_ = 0;
};

}  // namespace tenon
