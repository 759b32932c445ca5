// The rounding searches behind ggml's quantizers: a scale (and a minimum) for a few numbers. Private to lib/tensor.
//
// Bit-identical to ggml's reference: sums are f32, in the order of the elements, without contraction (the library is built
// with -ffp-contract=off). Rules: the published ggml-quants.c, as HACKING.md's facts state them.
#pragma once

#include <bit>
#include <cstdint>

#include "puna/tensor/encode_kernels.hpp"

namespace puna {

// To the nearest integer, ties to even, for |x| < 2^22.
inline int nearest(float x) {
  const float shifted = x + 12582912.0f;
  return static_cast<int>(std::bit_cast<std::uint32_t>(shifted) & 0x007fffffu) - 0x00400000;
}

// x ~ scale * (codes - nmax), codes 0 .. 2 nmax - 1; minimises the error weighted by w (null: x^2), 19 scales tried.
float fit_symmetric(int n, int nmax, const float* x, std::uint8_t* codes, const float* w);

// The same by coordinate descent from the plain scale, weights x^2: Q3_K's own.
float fit_symmetric_descent(int n, int nmax, const float* x, std::uint8_t* codes);

// x ~ scale * codes - minimum, codes 0 .. nmax, minimum >= 0.
float fit_affine(int n, int nmax, const float* x, const float* w, std::uint8_t* codes, float* minimum, const AffineSearch& search);

// A scale for 32 numbers on the IQ4 levels, and the nearest level.
float fit_levels(const float* x, const float* w);
int nearest_level(float x);

// x >= 0: x ~ scale * codes, codes 0 .. nmax.
float fit_positive(int n, int nmax, const float* x, std::uint8_t* codes, const float* w);

}  // namespace puna
