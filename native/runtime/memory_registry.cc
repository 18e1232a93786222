#include "runtime/memory_registry.h"

namespace tenon {

MemoryRegistry& MemoryRegistry::Get() {
  // Never destroyed: finalizers of worker threads may still come while the process exits.
  static MemoryRegistry& registry = *new MemoryRegistry;
  return registry;
}

void MemoryRegistry::Add(void* data, size_t byte_length, const std::shared_ptr<void>& owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  entries_[data] = {owner, byte_length};
  byte_length_ += byte_length;
}

void MemoryRegistry::Remove(void* data) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = entries_.find(data);
  if (entry == entries_.end()) return;
  byte_length_ -= entry->second.byte_length;
  entries_.erase(entry);
}

std::shared_ptr<void> MemoryRegistry::Find(void* data) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = entries_.find(data);
  return entry == entries_.end() ? nullptr : entry->second.owner.lock();
}

MemoryRegistry::Totals MemoryRegistry::totals() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {entries_.size(), byte_length_};
}

}  // namespace tenon
