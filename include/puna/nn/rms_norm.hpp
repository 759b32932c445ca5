// y = w * x / sqrt(mean(x^2) + epsilon)   (Zhang and Sennrich, 2019), all in f32.
#pragma once

#include <algorithm>

#include "puna/nn/compute.hpp"
#include "puna/nn/rows_back.hpp"

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

// dx (=|+=) the above; inverse [T] gets each row's r.
inline void rms_norm_back(const Compute& c, float* dx, const float* g, const float* x, const float* weight, float* inverse,
                          std::uint32_t T, std::size_t D, float epsilon, bool add) {
  c.pass(T, static_cast<std::uint64_t>(T) * D * 6, [&](std::uint32_t t, std::uint32_t) {
    inverse[t] = rms_norm_row_back(dx + t * D, g + t * D, x + t * D, weight, D, epsilon, add);
  });
}

// dw += the sum over rows, a stretch of columns in each tile.
inline void rms_norm_weight_back(const Compute& c, float* dw, const float* g, const float* x, const float* inverse, std::uint32_t T,
                                 std::size_t D) {
  constexpr std::size_t columns = 64;
  c.pass(static_cast<std::uint32_t>((D + columns - 1) / columns), static_cast<std::uint64_t>(T) * D * 2, [&](std::uint32_t tile, std::uint32_t) {
    const std::size_t first = tile * columns, end = std::min(D, first + columns);
    for (std::uint32_t t = 0; t < T; ++t)
      for (std::size_t i = first; i < end; ++i) dw[i] += g[t * D + i] * x[t * D + i] * inverse[t];
  });
}

}  // namespace puna
