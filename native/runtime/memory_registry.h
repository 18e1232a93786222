#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace tenon {

// Which memory JavaScript holds that is really Tenon's, by its first byte.
// A buffer found here may be given to an engine as it is: the owner keeps it
// alive, whatever JavaScript does to its ArrayBuffer meanwhile.
//
// One per process, because a buffer may travel between worker threads.
class MemoryRegistry {
 public:
  static MemoryRegistry& Get();

  void Add(void* data, size_t byte_length, const std::shared_ptr<void>& owner);
  void Remove(void* data);

  // The owner of the memory that starts at `data`; null where it is not Tenon's.
  std::shared_ptr<void> Find(void* data) const;

  struct Totals {
    size_t count;
    size_t byte_length;
  };
  Totals totals() const;

 private:
  struct Entry {
    std::weak_ptr<void> owner;
    size_t byte_length;
  };

  mutable std::mutex mutex_;
  std::unordered_map<void*, Entry> entries_;
  size_t byte_length_ = 0;
};

}  // namespace tenon
