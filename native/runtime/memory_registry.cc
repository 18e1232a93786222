#include "runtime/memory_registry.h"

#include <algorithm>
#include <utility>

namespace tenon {

MemoryRegistry& MemoryRegistry::Get() {
  // Never destroyed: finalizers of worker threads may still come while the process exits.
  static MemoryRegistry& registry = *new MemoryRegistry;
  return registry;
}

MemoryRegistry::Number MemoryRegistry::Add(void* data, size_t byte_length,
                                           std::shared_ptr<void> owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  entries_.emplace(data, Entry{std::move(owner), byte_length, ++last_});
  byte_length_ += byte_length;
  return last_;
}

std::shared_ptr<void> MemoryRegistry::Take(Entries::iterator entry) {
  std::shared_ptr<void> owner = std::move(entry->second.owner);
  byte_length_ -= entry->second.byte_length;
  entries_.erase(entry);
  return owner;
}

void MemoryRegistry::Remove(void* data, Number number) {
  std::shared_ptr<void> dropped;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [first, last] = entries_.equal_range(data);
  const auto entry =
      std::find_if(first, last, [number](const auto& e) { return e.second.number == number; });
  if (entry != last) dropped = Take(entry);
}

bool MemoryRegistry::Release(void* data) {
  std::shared_ptr<void> dropped;
  std::lock_guard<std::mutex> lock(mutex_);
  // Of several over one memory it is not known whose end this is.
  if (entries_.count(data) != 1) return false;
  dropped = Take(entries_.find(data));
  return true;
}

std::shared_ptr<void> MemoryRegistry::Find(void* data) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = entries_.find(data);
  return entry == entries_.end() ? nullptr : entry->second.owner;
}

MemoryRegistry::Totals MemoryRegistry::totals() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {entries_.size(), byte_length_};
}

}  // namespace tenon
