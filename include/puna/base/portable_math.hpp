// exp and log with the same bits on every platform, for decisions that must not depend on the machine's libm.
//
// Only IEEE double + - * / and integer operations, in one written order. The implementation is compiled once
// (lib/base/portable_math.cpp, contraction off), so a caller's flags cannot change it. Error below 1 ulp (tests say
// how much) over the whole range; subnormal results are rounded once.
#pragma once

#include <cstddef>

namespace puna::portable {

// As std::exp and std::log: exp(-inf) = 0, exp(+inf) = +inf, log(0) = -inf, log(x < 0) = NaN, NaN in, NaN out.
double exp(double x) noexcept;
double log(double x) noexcept;

// out[i] = exp(x[i] - top), each as above. Every x[i] <= top, top finite; x[i] may be -inf.
void exp_below(const float* x, std::size_t n, double top, double* out) noexcept;

}  // namespace puna::portable
