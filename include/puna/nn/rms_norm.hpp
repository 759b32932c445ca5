// y = w * x / sqrt(mean(x^2) + epsilon)   (Zhang and Sennrich, 2019), all in f32.
#pragma once

#include "puna/nn/compute.hpp"

namespace puna {

// Saved for backward: x. With r = (mean x^2 + epsilon)^(-1/2) and u = g * w:
// Backward: dx_i = r (u_i - x_i r^2 (sum_j u_j x_j) / D); dw_i += g_i x_i r.

inline void rms_norm(const Compute& c, const Rows& y, const float* x, const float* weight, std::uint32_t T, float epsilon) {
  const std::size_t D = y.columns;
  c.pass(T, static_cast<std::uint64_t>(T) * D * 4, [&](std::uint32_t t, std::uint32_t) {
    c.kernels.rms_norm(y.row(t), x + t * D, weight, D, epsilon);
    y.seal(c.kernels, t);
  });
}

}  // namespace puna
