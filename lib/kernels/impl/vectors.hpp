// Norm, gate, rotation, sums and activation quantizing. Every element's operations are the same in a full vector and in
// the padded last one.
#pragma once

#include <math.h>

#include <limits>

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

template <class A>
PUNA_INLINE float sum_lanes(typename A::F v) {
  const typename A::F none(0.0f);
  float out[4];
  A::sum4(v, none, none, none, out);
  return out[0];
}

template <class A>
PUNA_INLINE float max_lanes(typename A::F v) {
  alignas(64) float lanes[A::lanes];
  v.store_aligned(lanes);
  float best = lanes[0];
  for (int i = 1; i < A::lanes; ++i) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

// Calls f(vector index, values in it) for n values: full vectors, then the rest.
template <class A, class Full, class Part>
PUNA_INLINE void over_vectors(std::size_t n, const Full& full, const Part& part) {
  std::size_t i = 0;
  for (; i + A::lanes <= n; i += A::lanes) full(i);
  if (i < n) part(i, n - i);
}

template <class A>
void rms_norm(float* y, const float* x, const float* weight, std::size_t n, float epsilon) {
  using F = typename A::F;
  F acc[4] = {F(0.0f), F(0.0f), F(0.0f), F(0.0f)};
  const auto square = [&](std::size_t i, F v) {
    F& a = acc[i / A::lanes % 4];
    a = A::fma(v, v, a);
  };
  std::size_t i = 0;
  for (; i + 4 * A::lanes <= n; i += 4 * A::lanes)
    for (int k = 0; k < 4; ++k) {
      const F v = F::load_unaligned(x + i + static_cast<std::size_t>(k * A::lanes));
      acc[k] = A::fma(v, v, acc[k]);
    }
  for (; i + A::lanes <= n; i += A::lanes) square(i, F::load_unaligned(x + i));
  if (i < n) square(i, A::load_part(x + i, n - i));
  const float sum = sum_lanes<A>((acc[0] + acc[1]) + (acc[2] + acc[3]));
  const F scale(1.0f / ::sqrtf(sum / static_cast<float>(n) + epsilon));
  over_vectors<A>(
      n,
      [&](std::size_t k) { (F::load_unaligned(x + k) * scale * F::load_unaligned(weight + k)).store_unaligned(y + k); },
      [&](std::size_t k, std::size_t m) { A::store_part(y + k, A::load_part(x + k, m) * scale * A::load_part(weight + k, m), m); });
}

// silu(z) = z / (1 + e^-z). -infinity is held at the lowest float: infinity / infinity is no answer where the limit is 0.
template <class A>
PUNA_INLINE typename A::F gated(typename A::F z, typename A::F up) {
  using F = typename A::F;
  z = xsimd::max(F(-3.402823466e+38f), z);
  return A::div(z, F(1.0f) + xsimd::exp(-z)) * up;
}

template <class A>
void swiglu(float* y, const float* gate, const float* up, std::size_t n) {
  using F = typename A::F;
  over_vectors<A>(
      n, [&](std::size_t i) { gated<A>(F::load_unaligned(gate + i), F::load_unaligned(up + i)).store_unaligned(y + i); },
      [&](std::size_t i, std::size_t m) {
        A::store_part(y + i, gated<A>(A::load_part(gate + i, m), A::load_part(up + i, m)), m);
      });
}

// Plain loops that compilers vectorise well; no operation in them can be fused, so the bits are the same anyway.
template <class A>
void rope(float* x, const float* cos, const float* sin, std::uint32_t heads, std::uint32_t head_dim) {
  for (std::uint32_t h = 0; h < heads; ++h, x += head_dim)
    for (std::uint32_t i = 0; i < head_dim / 2; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = a * sin[i] + b * cos[i];
    }
}

template <class A>
void add(float* y, const float* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] += x[i];
}

template <class A>
void half_row(Half* y, const float* x, std::size_t n) {
  using F = typename A::F;
  over_vectors<A>(
      n, [&](std::size_t i) { A::store_half(y + i, F::load_unaligned(x + i)); },
      [&](std::size_t i, std::size_t m) {
        Half part[A::lanes];
        A::store_half(part, A::load_part(x + i, m));
        std::memcpy(y + i, part, m * sizeof(Half));
      });
}

// The 32 codes of a finite block. Where d is subnormal the quotient can be more than 127.
template <class A>
PUNA_INLINE void quantize_codes(const typename A::F (&v)[32 / A::lanes], float d, ActBlock& out) {
  using F = typename A::F;
  alignas(64) std::int32_t codes[32];
  for (int i = 0; i < 32 / A::lanes; ++i) {
    const F q = xsimd::min(xsimd::max(xsimd::nearbyint(A::div(v[i], F(d))), F(-127.0f)), F(127.0f));
    xsimd::to_int(q).store_aligned(codes + i * A::lanes);
  }
  std::int32_t low = 0, high = 0;
  for (int i = 0; i < 16; ++i) low += codes[i], high += codes[16 + i];
  for (int i = 0; i < 32; ++i) out.q[i] = static_cast<std::int8_t>(codes[i]);
  out.qsum_lo = static_cast<std::int16_t>(low);
  out.qsum_hi = static_cast<std::int16_t>(high);
}

template <class A>
PUNA_INLINE void quantize_block(const float* x, ActBlock& out) {
  using F = typename A::F;
  F v[32 / A::lanes];
  F largest(0.0f), probe(0.0f);  // the probe stays 0 unless an infinity or a NaN is among the values
  for (int i = 0; i < 32 / A::lanes; ++i) {
    v[i] = F::load_unaligned(x + i * A::lanes);
    largest = xsimd::max(largest, xsimd::abs(v[i]));
    probe = probe + v[i] * F(0.0f);
  }
  const bool finite = sum_lanes<A>(probe) == 0.0f;
  const float d = max_lanes<A>(largest) / 127.0f;
  if (finite && d > 0.0f) {
    quantize_codes<A>(v, d, out);
  } else {
    std::memset(out.q, 0, sizeof out.q);
    out.qsum_lo = out.qsum_hi = 0;
  }
  out.d = finite ? d : not_a_number;
  out.sum_lo = out.d * static_cast<float>(out.qsum_lo);
  out.sum_hi = out.d * static_cast<float>(out.qsum_hi);
}

template <class A>
void quantize(const float* x, std::size_t n, ActBlock* out) {
  for (std::size_t b = 0; b < n / 32; ++b) quantize_block<A>(x + 32 * b, out[b]);
}

}  // namespace
}  // namespace puna
