// Counts what the C++ heap gives, by replacing operator new in the one test program that includes this (once).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace puna_test {

inline std::atomic<std::size_t> heap_now{0};
inline std::atomic<std::size_t> heap_peak{0};
inline std::atomic<std::size_t> heap_largest{0};  // the largest single request

// Most bytes in use above what was in use when it began.
class HeapWatch {
 public:
  HeapWatch() : begin_(heap_now.load()) {
    heap_peak = begin_;
    heap_largest = 0;
  }
  std::size_t peak() const { return heap_peak.load() - begin_; }
  std::size_t left() const { return heap_now.load() - begin_; }
  std::size_t largest() const { return heap_largest.load(); }

 private:
  std::size_t begin_;
};

inline void* counted_new(std::size_t n) {
  if (n > heap_largest.load()) heap_largest = n;
  // A request beyond any real one fails, as it would on a small machine, instead of reserving address space.
  void* block = n > (std::size_t{1} << 32) ? nullptr : std::malloc(n + 2 * sizeof(std::max_align_t));
  if (!block) throw std::bad_alloc();
  *static_cast<std::size_t*>(block) = n;
  const std::size_t now = heap_now.fetch_add(n) + n;
  std::size_t peak = heap_peak.load();
  while (peak < now && !heap_peak.compare_exchange_weak(peak, now)) {
  }
  return static_cast<std::byte*>(block) + sizeof(std::max_align_t);
}

inline void counted_delete(void* p) {
  if (!p) return;
  void* block = static_cast<std::byte*>(p) - sizeof(std::max_align_t);
  heap_now -= *static_cast<std::size_t*>(block);
  std::free(block);
}

}  // namespace puna_test

void* operator new(std::size_t n) { return puna_test::counted_new(n); }
void* operator new[](std::size_t n) { return puna_test::counted_new(n); }
void operator delete(void* p) noexcept { puna_test::counted_delete(p); }
void operator delete[](void* p) noexcept { puna_test::counted_delete(p); }
void operator delete(void* p, std::size_t) noexcept { puna_test::counted_delete(p); }
void operator delete[](void* p, std::size_t) noexcept { puna_test::counted_delete(p); }
