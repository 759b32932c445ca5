// Adapters at inference: what is added to a product of linear.hpp, y += s B (A x), in f32. Several may share a weight. DoRA's
// (dora.hpp) scale what is there: y = c (y + s B (A x)).
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "puna/nn/compute.hpp"

namespace puna {

struct Adapted {
  const Matrix* w;  // whose product it is added to
  Matrix a, b;      // f32: [r][columns], [rows][r]
  float scale;
  const float* factor = nullptr;  // [rows], DoRA's c
};

struct Adaptation {
  std::vector<Adapted> all;  // sorted by w, then as they were given
  float* inner = nullptr;    // [T][r] of the adapter at hand

  // Calls f(adapted) for those of a weight, in order.
  template <class F>
  void each(const Matrix* w, const F& f) const {
    auto at = std::lower_bound(all.begin(), all.end(), w, [](const Adapted& a, const Matrix* m) { return std::less<>()(a.w, m); });
    for (; at != all.end() && at->w == w; ++at) f(*at);
  }
};

// add_to: null, or where y has been added, and its change is too. A token's sums do not depend on the tokens beside it: both products are the kernels' own.
inline void adapt(const Compute& c, const Adapted& l, float* inner, float* y, float* add_to, const Rows& x, std::uint32_t T) {
  constexpr std::uint32_t tokens = 32, rows = 32;
  const std::uint32_t r = l.a.rows, token_tiles = (T + tokens - 1) / tokens;
  c.pass(token_tiles, static_cast<std::uint64_t>(T) * r * l.a.columns, [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t t = tile * tokens;
    c.kernels.matmul({DType::f32, l.a.data, l.a.stride, r, l.a.columns, x.row(t), x.columns, std::min(tokens, T - t),
                      inner + static_cast<std::size_t>(t) * r, r, c.worker_scratch(worker)});
  });
  const std::uint32_t row_tiles = (l.b.rows + rows - 1) / rows;
  c.pass(token_tiles * row_tiles, static_cast<std::uint64_t>(T) * r * l.b.rows, [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t t = tile % token_tiles * tokens, first = tile / token_tiles * rows;
    const std::uint32_t n = std::min(rows, l.b.rows - first), count = std::min(tokens, T - t);
    alignas(64) float part[tokens * rows];
    c.kernels.matmul({DType::f32, l.b.row(first), l.b.stride, n, r, inner + static_cast<std::size_t>(t) * r, r, count, part, rows,
                      c.worker_scratch(worker)});
    for (std::uint32_t i = 0; i < count; ++i)
      for (std::uint32_t j = 0; j < n; ++j) {
        const std::size_t at = static_cast<std::size_t>(t + i) * l.b.rows + first + j;
        float change = l.scale * part[i * rows + j];
        if (l.factor) change = (l.factor[first + j] - 1) * y[at] + l.factor[first + j] * change;
        y[at] += change;
        if (add_to) add_to[at] += change;
      }
  });
}

}  // namespace puna
