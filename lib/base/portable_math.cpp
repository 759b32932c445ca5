#include "puna/base/portable_math.hpp"

#include <bit>
#include <cfloat>
#include <cstdint>
#include <limits>

// x87 would keep 80 bits between operations: build 32-bit x86 with -msse2 -mfpmath=sse.
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "puna needs double arithmetic that is rounded to double after each operation (on i386: -msse2 -mfpmath=sse)"
#endif
#if defined(__FAST_MATH__)
#error "puna cannot be compiled with -ffast-math: the same bits on every platform are promised"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#pragma float_control(precise, on)
#endif

namespace puna::portable {
namespace {

// ln 2 in two pieces: the first has 33 bits, so that k times it is exact for every exponent k.
constexpr double ln2_high = 0x1.62e42feep-1;
constexpr double ln2_low = 0x1.a39ef35793c76p-33;
constexpr double log2_e = 0x1.71547652b82fep+0;
constexpr double round_to_integer = 0x1.8p52;  // adding it leaves the nearest integer in the low bits

// 2^k for -1022 <= k <= 1023.
double power_of_two(std::int64_t k) { return std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52); }

// For -760 <= x <= 709.79. x = k ln 2 + r with |r| <= 0.3466; e^r by its Taylor polynomial of degree 13, whose
// remainder there is below 5e-18; then two exact scalings, of which only the second can round (to a subnormal).
// No branches, so that compilers may do several at once.
inline double exp_in_range(double x) {
  const double shifted = x * log2_e + round_to_integer;
  const double k = shifted - round_to_integer;
  const double r = (x - k * ln2_high) - k * ln2_low;
  double q = 1.0 / 6227020800.0;
  q = q * r + 1.0 / 479001600.0;
  q = q * r + 1.0 / 39916800.0;
  q = q * r + 1.0 / 3628800.0;
  q = q * r + 1.0 / 362880.0;
  q = q * r + 1.0 / 40320.0;
  q = q * r + 1.0 / 5040.0;
  q = q * r + 1.0 / 720.0;
  q = q * r + 1.0 / 120.0;
  q = q * r + 1.0 / 24.0;
  q = q * r + 1.0 / 6.0;
  q = q * r + 0.5;
  const double y = 1.0 + (r + (r * r) * q);
  const std::int64_t exponent = std::bit_cast<std::int64_t>(shifted) - std::bit_cast<std::int64_t>(round_to_integer);
  const std::int64_t half = static_cast<std::int64_t>(static_cast<std::uint64_t>(exponent + 2048) >> 1) - 1024;
  return (y * power_of_two(half)) * power_of_two(exponent - half);
}

}  // namespace

double exp(double x) noexcept {
  if (x != x) return x;
  if (x > 0x1.62e42fefa39efp+9) return std::numeric_limits<double>::infinity();  // 709.78…: above the largest double
  if (x < -746.0) return 0.0;                                                    // below half the smallest
  return exp_in_range(x);
}

// x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); with s = f / (2 + f), log(1 + f) = 2 atanh(s) =
// f - s (f - R), R = 2 s^2/3 + 2 s^4/5 + …; s^2 < 0.0295, so eleven terms leave less than 1e-18 of it.
double log(double x) noexcept {
  if (x != x) return x;
  if (x == 0.0) return -std::numeric_limits<double>::infinity();
  if (x < 0.0) return std::numeric_limits<double>::quiet_NaN();
  if (x == std::numeric_limits<double>::infinity()) return x;
  std::int64_t exponent = -1023;
  if (x < 0x1p-1022) {
    x = x * 0x1p54;
    exponent -= 54;
  }
  const auto bits = std::bit_cast<std::uint64_t>(x);
  exponent += static_cast<std::int64_t>(bits >> 52);
  double m = std::bit_cast<double>((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m = m * 0.5;
    exponent += 1;
  }
  const auto k = static_cast<double>(exponent);
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double q = 2.0 / 23.0;
  q = q * z + 2.0 / 21.0;
  q = q * z + 2.0 / 19.0;
  q = q * z + 2.0 / 17.0;
  q = q * z + 2.0 / 15.0;
  q = q * z + 2.0 / 13.0;
  q = q * z + 2.0 / 11.0;
  q = q * z + 2.0 / 9.0;
  q = q * z + 2.0 / 7.0;
  q = q * z + 2.0 / 5.0;
  q = q * z + 2.0 / 3.0;
  const double rest = z * q;
  return k * ln2_high + (f - (s * (f - rest) - k * ln2_low));
}

// Two loops over a short block: the clamp has a branch in some compilers' eyes, and would keep the second from being
// done several at a time.
void exp_below(const float* x, std::size_t n, double top, double* out) noexcept {
  constexpr std::size_t block = 64;
  double d[block];
  for (std::size_t begin = 0; begin < n; begin += block) {
    const std::size_t count = n - begin < block ? n - begin : block;
    for (std::size_t i = 0; i < count; ++i) {
      const double difference = static_cast<double>(x[begin + i]) - top;
      d[i] = difference > -760.0 ? difference : -760.0;  // e^-760 is 0 after rounding
    }
    for (std::size_t i = 0; i < count; ++i) out[begin + i] = exp_in_range(d[i]);
  }
}

}  // namespace puna::portable
