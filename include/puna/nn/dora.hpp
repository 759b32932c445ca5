// DoRA (Liu et al., 2024): y = c (W x + s B A x), row by row c = m / |W + s B A|. On the way back the norm is a constant, as PEFT
// has it. Dropout is of the adapter's branch alone.
#pragma once

#include <cmath>

#include "puna/nn/lora.hpp"
#include "puna/nn/rows_back.hpp"

namespace puna {

// Saved for backward: z = W x + s B A x. Backward: dm += z . g / |W + s B A|, and c g takes the place of g.

// |W + s B A| of every row; rank 0: of W alone.
inline void row_norms(const Compute& c, float* norms, const Matrix& w, std::uint32_t rank, const float* a, const float* b, float scale) {
  constexpr std::uint32_t rows = 32;
  c.pass((w.rows + rows - 1) / rows, static_cast<std::uint64_t>(w.rows) * w.columns * (rank + 2), [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t first = tile * rows, n = std::min(rows, w.rows - first);
    std::byte* scratch = c.worker_scratch(worker);
    auto* part = reinterpret_cast<float*>(scratch + gemm_scratch);
    double sums[rows] = {};
    for (std::uint32_t k = 0; k < w.columns; k += gemm_depth) {
      const std::uint32_t depth = std::min(gemm_depth, w.columns - k);
      for (std::uint32_t i = 0; i < n; ++i) decode_matrix_part(w, first + i, k, depth, part + static_cast<std::size_t>(i) * depth);
      if (rank)
        c.kernels.gemm({n, depth, rank, b + static_cast<std::size_t>(first) * rank, rank, 1, a + k, w.columns, 1, part, depth, scale, true, scratch});
      for (std::uint32_t i = 0; i < n; ++i) {
        const float* row = part + static_cast<std::size_t>(i) * depth;
        sums[i] += static_cast<double>(dot_row(row, row, depth));
      }
    }
    for (std::uint32_t i = 0; i < n; ++i) norms[first + i] = static_cast<float>(std::sqrt(sums[i]));
  });
}

// c; a row of zeros stays one.
inline float dora_factor(float magnitude, float norm) { return norm > 0 ? magnitude / norm : 0.0f; }

// y (=|+=) c z.
inline void dora_rows(const Compute& c, const Lora& l, float* y, const float* z, std::uint32_t T, std::uint32_t rows, bool add) {
  c.pass(T, static_cast<std::uint64_t>(T) * rows * 2, [&](std::uint32_t t, std::uint32_t) {
    const std::size_t at = static_cast<std::size_t>(t) * rows;
    for (std::uint32_t j = 0; j < rows; ++j) {
      const float v = dora_factor(l.m[j], l.norms[j]) * z[at + j];
      y[at + j] = add ? y[at + j] + v : v;
    }
  });
}

// z becomes c g.
inline void dora_back(const Compute& c, const Lora& l, float* z, const float* g, std::uint32_t T, std::uint32_t rows) {
  constexpr std::uint32_t columns = 64;
  c.pass((rows + columns - 1) / columns, static_cast<std::uint64_t>(T) * rows * 3, [&](std::uint32_t tile, std::uint32_t) {
    const std::uint32_t first = tile * columns, n = std::min(columns, rows - first);
    float sums[columns] = {}, factors[columns];
    for (std::uint32_t j = 0; j < n; ++j) factors[j] = dora_factor(l.m[first + j], l.norms[first + j]);
    for (std::uint32_t t = 0; t < T; ++t) {
      const std::size_t at = static_cast<std::size_t>(t) * rows + first;
      for (std::uint32_t j = 0; j < n; ++j) {
        sums[j] += g[at + j] * z[at + j];
        z[at + j] = factors[j] * g[at + j];
      }
    }
    for (std::uint32_t j = 0; j < n; ++j) l.dm[first + j] += dora_factor(sums[j], l.norms[first + j]);
  });
}

}  // namespace puna
