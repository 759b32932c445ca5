// The floating-point environment of the calling thread: hosts set flush-to-zero, we need IEEE. Every entry and every
// worker holds one of these.
#pragma once

#include <cstdint>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace puna {

class FpGuard {
 public:
  FpGuard() noexcept {
#if defined(__SSE2__) || defined(_M_X64)
    saved_ = _mm_getcsr();
    _mm_setcsr(0x1f80u);  // round to nearest, all exceptions masked, no FTZ or DAZ
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    const std::uint64_t plain = 0;
    asm volatile("msr fpcr, %0" : : "r"(plain));
#endif
  }
  ~FpGuard() {
#if defined(__SSE2__) || defined(_M_X64)
    _mm_setcsr(saved_);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" : : "r"(saved_));
#endif
  }
  FpGuard(const FpGuard&) = delete;
  FpGuard& operator=(const FpGuard&) = delete;

 private:
#if defined(__SSE2__) || defined(_M_X64)
  unsigned saved_ = 0;
#elif defined(__aarch64__)
  std::uint64_t saved_ = 0;
#endif
};

}  // namespace puna
