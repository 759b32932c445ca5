// Products of float matrices, as training has them: both operands are packed, so that strides and transposition cost nothing
// inside. Six rows by two vectors of columns stay in registers while p runs.
#pragma once

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

constexpr std::uint32_t gemm_height = 6;

// a[i][p] as [p][6], rows that are not there as zeros.
PUNA_INLINE void pack_rows(const GemmTile& t, std::uint32_t row, std::uint32_t rows, std::uint32_t first, std::uint32_t depth, float* to) {
  const float* a = t.a + row * t.a_row + first * t.a_col;
  if (rows < gemm_height) std::memset(to, 0, depth * gemm_height * sizeof(float));
  if (t.a_row == 1) {
    for (std::uint32_t p = 0; p < depth; ++p) std::memcpy(to + p * gemm_height, a + p * t.a_col, rows * sizeof(float));
    return;
  }
  for (std::uint32_t i = 0; i < rows; ++i)
    for (std::uint32_t p = 0; p < depth; ++p) std::memcpy(to + p * gemm_height + i, a + i * t.a_row + p * t.a_col, sizeof(float));
}

// b[p][j] as [p][W].
template <std::uint32_t W>
PUNA_INLINE void pack_columns(const GemmTile& t, std::uint32_t column, std::uint32_t columns, std::uint32_t first, std::uint32_t depth,
                              float* to) {
  const float* b = t.b + first * t.b_row + column * t.b_col;
  if (columns < W) std::memset(to, 0, depth * W * sizeof(float));
  if (t.b_col == 1) {
    if (columns == W)
      for (std::uint32_t p = 0; p < depth; ++p) std::memcpy(to + p * W, b + p * t.b_row, W * sizeof(float));
    else
      for (std::uint32_t p = 0; p < depth; ++p) std::memcpy(to + p * W, b + p * t.b_row, columns * sizeof(float));
    return;
  }
  for (std::uint32_t j = 0; j < columns; ++j)
    for (std::uint32_t p = 0; p < depth; ++p) std::memcpy(to + p * W + j, b + p * t.b_row + j * t.b_col, sizeof(float));
}

template <class A>
void gemm_corner(const float* a, const float* b, std::uint32_t depth, float (*out)[2 * A::lanes]) {
  using F = typename A::F;
  F acc[gemm_height][2];
  for (std::uint32_t i = 0; i < gemm_height; ++i) acc[i][0] = acc[i][1] = F(0.0f);
  for (std::uint32_t p = 0; p < depth; ++p, a += gemm_height, b += 2 * A::lanes) {
    const F b0 = F::load_aligned(b), b1 = F::load_aligned(b + A::lanes);
    for (std::uint32_t i = 0; i < gemm_height; ++i) {
      const F x(a[i]);
      acc[i][0] = A::fma(x, b0, acc[i][0]);
      acc[i][1] = A::fma(x, b1, acc[i][1]);
    }
  }
  for (std::uint32_t i = 0; i < gemm_height; ++i) {
    acc[i][0].store_aligned(out[i]);
    acc[i][1].store_aligned(out[i] + A::lanes);
  }
}

template <class A>
void gemm(const GemmTile& t) {
  using F = typename A::F;
  constexpr std::uint32_t W = 2 * A::lanes;
  auto* packed_a = reinterpret_cast<float*>(t.scratch);
  float* packed_b = packed_a + gemm_depth * gemm_rows;
  alignas(64) float corner[gemm_height][W];
  const F scale(t.scale);
  for (std::uint32_t row = 0; row < t.m; row += gemm_rows) {
    const std::uint32_t rows = t.m - row < gemm_rows ? t.m - row : gemm_rows;
    for (std::uint32_t first = 0; first < t.k || first == 0; first += gemm_depth) {
      const std::uint32_t depth = t.k - first < gemm_depth ? t.k - first : gemm_depth;
      for (std::uint32_t i = 0; i < rows; i += gemm_height)
        pack_rows(t, row + i, rows - i < gemm_height ? rows - i : gemm_height, first, depth, packed_a + i * depth);
      const bool add = t.add || first > 0;
      for (std::uint32_t column = 0; column < t.n; column += W) {
        const std::uint32_t columns = t.n - column < W ? t.n - column : W;
        pack_columns<W>(t, column, columns, first, depth, packed_b);
        for (std::uint32_t i = 0; i < rows; i += gemm_height) {
          gemm_corner<A>(packed_a + i * depth, packed_b, depth, corner);
          const std::uint32_t count = rows - i < gemm_height ? rows - i : gemm_height;
          for (std::uint32_t r = 0; r < count; ++r) {
            float* c = t.c + (row + i + r) * t.c_row + column;
            if (columns == W) {
              for (std::uint32_t j = 0; j < W; j += A::lanes) {
                const F v = F::load_aligned(corner[r] + j);
                (add ? A::fma(scale, v, F::load_unaligned(c + j)) : scale * v).store_unaligned(c + j);
              }
            } else {  // the same operations, a vector at a time, on a copy
              alignas(64) float part[W] = {};
              std::memcpy(part, c, columns * sizeof(float));
              for (std::uint32_t j = 0; j < W; j += A::lanes) {
                const F v = F::load_aligned(corner[r] + j);
                (add ? A::fma(scale, v, F::load_aligned(part + j)) : scale * v).store_aligned(part + j);
              }
              std::memcpy(c, part, columns * sizeof(float));
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace puna
