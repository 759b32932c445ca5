#include "puna/base/memory.hpp"

#include <new>
#include <string>

namespace puna {

void* Memory::allocate(std::size_t bytes, const char* what) {
  if (bytes == 0) return nullptr;
  // Reserve in the account first, so that two threads cannot pass the limit together.
  const std::uint64_t now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  const auto refuse = [&](const std::string& why) {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    fail(Code::memory, std::string(what) + ": " + std::to_string(bytes) + " bytes: " + why);
  };
  if (limit_ != 0 && now > limit_)
    refuse("past the memory limit of " + std::to_string(limit_) + " (" + std::to_string(now - bytes) + " in use)");
  void* memory = allocator_.allocate ? allocator_.allocate(allocator_.user, bytes, alignment)
                                     : ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
  if (!memory) refuse("the allocator has none");
  std::uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < now && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return memory;
}

void Memory::release(void* memory, std::size_t bytes) noexcept {
  if (!memory) return;
  if (allocator_.allocate) {
    if (allocator_.release) allocator_.release(allocator_.user, memory, bytes, alignment);
  } else {
    ::operator delete(memory, std::align_val_t{alignment});
  }
  used_.fetch_sub(bytes, std::memory_order_relaxed);
}

}  // namespace puna
