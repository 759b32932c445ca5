// What the operating system lets this process have: cores, and memory that stays in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace puna {

// Cores that this process may use: its affinity, and no more than its container's quota of time.
std::uint32_t usable_cores() noexcept;

// Bytes of memory in the machine; 0: not known.
std::uint64_t physical_memory() noexcept;

// Binds the calling thread to the index-th of those cores, counted around; a core's second hyper-thread comes after all
// first ones. False where the system has no such call or refuses: then the thread roams as before.
bool pin_this_thread(std::uint32_t index) noexcept;

// Pages kept in memory (mlock) for as long as this lives.
class LockedPages {
 public:
  LockedPages() = default;
  ~LockedPages();
  LockedPages(const LockedPages&) = delete;
  LockedPages& operator=(const LockedPages&) = delete;
  // Error(memory) names `what`, the bytes, the system's reason and its limit.
  void add(const void* data, std::size_t bytes, const std::string& what);

 private:
  struct Range {
    const void* data;
    std::size_t bytes;
  };
  std::vector<Range> ranges_;
};

}  // namespace puna
