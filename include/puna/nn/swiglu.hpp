// y = silu(gate) * up, silu(z) = z / (1 + exp(-z))   (Shazeer, 2020).
#pragma once

#include "puna/nn/compute.hpp"
#include "puna/nn/rows_back.hpp"

namespace puna {

// Saved for backward: gate a and up b. With e = g, s = 1/(1+exp(-a)):
// Backward: db = e silu(a); da = e b s (1 + a (1 - s)).

inline void swiglu(const Compute& c, const Rows& y, const float* gate, const float* up, std::uint32_t T) {
  const std::size_t F = y.columns;
  c.pass(T, static_cast<std::uint64_t>(T) * F * 8, [&](std::uint32_t t, std::uint32_t) {
    c.kernels.swiglu(y.row(t), gate + t * F, up + t * F, F);
    y.seal(c.kernels, t);
  });
}

// g [T][F] in; gate and up become their gradients.
inline void swiglu_back(const Compute& c, const float* g, float* gate, float* up, std::uint32_t T, std::size_t F) {
  c.pass(T, static_cast<std::uint64_t>(T) * F * 12, [&](std::uint32_t t, std::uint32_t) {
    swiglu_row_back(g + t * F, gate + t * F, up + t * F, F);
  });
}

}  // namespace puna
