// operator new that counts, for the test that nothing is allocated from token to token.
#include <atomic>
#include <cstdlib>
#include <new>

namespace puna_test {

std::atomic<long> allocations{0};

}  // namespace puna_test

void* operator new(std::size_t bytes) {
  ++puna_test::allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
