// Products of float matrices as operations of a pass, for training: tiles cut outputs, never the sum.
#pragma once

#include <algorithm>

#include "puna/nn/compute.hpp"
#include "puna/tensor/nf4.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {

// c [m][n] (=|+=) scale * a b; the strides of a and b are in floats, so that a transposed operand is one with them swapped.
struct FloatProduct {
  std::uint32_t m, n, k;
  const float* a;
  std::size_t a_row, a_col;
  const float* b;
  std::size_t b_row, b_col;
  float* c;
  float scale = 1.0f;
  bool add = false;
};

inline constexpr std::uint32_t product_rows = 2 * gemm_rows;    // of a tile
inline constexpr std::uint32_t product_columns = 256;           // a multiple of every type's block
// A worker's scratch: what a kernel packs, and a part of a stored matrix as floats.
inline constexpr std::size_t product_scratch = gemm_scratch + sizeof(float) * product_columns * gemm_depth;

// How many tiles of at most `most` cut n so that every worker has some.
inline std::uint32_t product_cut(std::uint32_t n, std::uint32_t most, std::uint32_t other_tiles, std::uint32_t width) {
  while (most > 64 && ((n + most - 1) / most) * other_tiles < 3 * width) most /= 2;
  return most;
}

inline void product(const Compute& c, const FloatProduct& p) {
  const std::uint32_t row_tiles = (p.m + product_rows - 1) / product_rows;
  const std::uint32_t columns = product_cut(p.n, product_columns, row_tiles, c.pass.width());
  const std::uint32_t column_tiles = (p.n + columns - 1) / columns;
  c.pass(row_tiles * column_tiles, static_cast<std::uint64_t>(p.m) * p.n * p.k, [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t i = tile / column_tiles * product_rows, j = tile % column_tiles * columns;
    c.kernels.gemm({std::min(product_rows, p.m - i), std::min(columns, p.n - j), p.k, p.a + i * p.a_row, p.a_row, p.a_col,
                    p.b + j * p.b_col, p.b_row, p.b_col, p.c + static_cast<std::size_t>(i) * p.n + j, p.n, p.scale, p.add,
                    c.worker_scratch(worker)});
  });
}

// Rows [row, row + rows) and columns [column, column + columns) of a stored matrix as floats, and how far apart they lie.
// f32 stays where it is. nf4: the values instead of the matrix's own, or null.
struct FloatPart {
  const float* data;
  std::size_t stride;
};
inline FloatPart float_part(const Matrix& w, std::uint32_t row, std::uint32_t rows, std::uint32_t column, std::uint32_t columns,
                            float* to, const Nf4View* nf4) {
  if (nf4) {
    for (std::uint32_t r = 0; r < rows; ++r)
      nf4_decode(*nf4, static_cast<std::size_t>(row + r) * w.columns + column, columns, to + static_cast<std::size_t>(r) * columns);
    return {to, columns};
  }
  if (w.type == DType::f32 && reinterpret_cast<std::uintptr_t>(w.data) % alignof(float) == 0 && w.stride % sizeof(float) == 0)
    return {reinterpret_cast<const float*>(w.row(row)) + column, w.stride / sizeof(float)};
  for (std::uint32_t r = 0; r < rows; ++r) decode_matrix_part(w, row + r, column, columns, to + static_cast<std::size_t>(r) * columns);
  return {to, columns};
}

// y [T][rows] (=|+=) x W^T, W of any stored type: a tile of it is decoded at a time, never the whole.
inline void weight_product(const Compute& c, float* y, const float* x, std::uint32_t T, const Matrix& w, bool add, const Nf4View* nf4 = nullptr) {
  constexpr std::uint32_t tokens = 4 * gemm_rows;
  const std::uint32_t token_tiles = (T + tokens - 1) / tokens;
  const std::uint32_t rows = product_cut(w.rows, product_columns, token_tiles, c.pass.width());
  c.pass(token_tiles * ((w.rows + rows - 1) / rows), static_cast<std::uint64_t>(w.rows) * w.columns * T,
         [&](std::uint32_t tile, std::uint32_t worker) {
           const std::uint32_t t = tile % token_tiles * tokens, r = tile / token_tiles * rows;
           const std::uint32_t count = std::min(rows, w.rows - r);
           std::byte* scratch = c.worker_scratch(worker);
           auto* decoded = reinterpret_cast<float*>(scratch + gemm_scratch);
           for (std::uint32_t k = 0; k < w.columns; k += gemm_depth) {
             const std::uint32_t depth = std::min(gemm_depth, w.columns - k);
             const FloatPart part = float_part(w, r, count, k, depth, decoded, nf4);
             c.kernels.gemm({std::min(tokens, T - t), count, depth, x + static_cast<std::size_t>(t) * w.columns + k, w.columns, 1,
                             part.data, 1, part.stride, y + static_cast<std::size_t>(t) * w.rows + r, w.rows, 1.0f, add || k > 0,
                             scratch});
           }
         });
}

// dx [T][columns] (=|+=) g W.
inline void weight_product_back(const Compute& c, float* dx, const float* g, std::uint32_t T, const Matrix& w, bool add, const Nf4View* nf4 = nullptr) {
  constexpr std::uint32_t tokens = 4 * gemm_rows;
  const std::uint32_t token_tiles = (T + tokens - 1) / tokens;
  const std::uint32_t columns = info(w.type).block > 1 ? product_columns  // whole blocks
                                                       : product_cut(w.columns, product_columns, token_tiles, c.pass.width());
  c.pass(token_tiles * ((w.columns + columns - 1) / columns), static_cast<std::uint64_t>(w.rows) * w.columns * T,
         [&](std::uint32_t tile, std::uint32_t worker) {
           const std::uint32_t t = tile % token_tiles * tokens, j = tile / token_tiles * columns;
           const std::uint32_t count = std::min(columns, w.columns - j);
           std::byte* scratch = c.worker_scratch(worker);
           auto* decoded = reinterpret_cast<float*>(scratch + gemm_scratch);
           for (std::uint32_t k = 0; k < w.rows; k += gemm_depth) {
             const std::uint32_t depth = std::min(gemm_depth, w.rows - k);
             const FloatPart part = float_part(w, k, depth, j, count, decoded, nf4);
             c.kernels.gemm({std::min(tokens, T - t), count, depth, g + static_cast<std::size_t>(t) * w.rows + k, w.rows, 1, part.data,
                             part.stride, 1, dx + static_cast<std::size_t>(t) * w.columns + j, w.columns, 1.0f, add || k > 0, scratch});
           }
         });
}

// dW [rows][columns] += scale * g^T x, over T tokens.
inline void outer_product(const Compute& c, float* dw, const float* g, std::uint32_t rows, const float* x, std::uint32_t columns,
                          std::uint32_t T, float scale = 1.0f) {
  product(c, {rows, columns, T, g, 1, rows, x, columns, 1, dw, scale, true});
}

}  // namespace puna
