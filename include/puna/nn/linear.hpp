// y = W x, without bias. W [rows][columns] as stored: the formats are types of the kernel, not of the layer.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "puna/nn/adapt.hpp"
#include "puna/nn/compute.hpp"

namespace puna {

// Saved for backward: x (the block's recomputed input rows).
// Backward: dx = W^T g; dW += g x^T (absent for a frozen, quantized W).

struct Product {
  const Matrix* w;
  float* y;       // [T][w->rows]
  float* add_to;  // [T][w->rows], += y when not null: the residual stream
};

inline constexpr std::uint32_t linear_rows = 32;

// Tokens of a tile: few enough that a step's budget is kept (some tenths of a millisecond), as many as that allows, so that
// weights are unpacked seldom; whole register tiles of 3, 4, 6 or 8 tokens.
inline std::uint32_t linear_tile_tokens(const Matrix& w, std::uint32_t T) {
  const std::uint64_t products = info(w.type).quantized() ? 26u << 20 : 6u << 20;
  const std::uint64_t fitting = products / (std::uint64_t{linear_rows} * std::max(w.columns, 1u));
  const auto tokens = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(fitting / 48 * 48, 48, 240));
  return std::min(tokens, std::max(T, 1u));
}

// Few tokens: weights stream by once, so a tile is a stretch of memory (128 KiB) long enough for the prefetchers to settle,
// and every worker gets as many tiles.
inline std::uint32_t linear_tile_rows(const Matrix& w, std::uint32_t T, std::uint32_t width) {
  if (T > 4) return linear_rows;
  const std::size_t fitting = (std::size_t{128} << 10) / std::max<std::size_t>(w.stride, 1);
  const auto most = static_cast<std::uint32_t>(std::clamp<std::size_t>(fitting, linear_rows, 4 * linear_rows));
  std::uint32_t tiles = (w.rows + most - 1) / most;
  tiles = (tiles + width - 1) / width * width;
  const std::uint32_t rows = (w.rows + tiles - 1) / tiles;
  return std::max((rows + 15) / 16 * 16, linear_rows);
}

// Products of the same rows, as one operation.
inline void linear(const Compute& c, const Rows& x, std::uint32_t T, std::initializer_list<Product> products) {
  if (c.observer) c.observer->see(c, x, T, products);
  const std::uint32_t tile_tokens = linear_tile_tokens(*products.begin()->w, T);  // their rows are as long
  const std::uint32_t token_tiles = (T + tile_tokens - 1) / tile_tokens;
  std::uint32_t row_tiles = 0;
  const auto rows_of = [&](const Matrix& w) { return linear_tile_rows(w, T, c.pass.width()); };
  std::uint64_t work = 0;
  for (const Product& p : products) {
    const std::uint32_t rows = rows_of(*p.w);
    row_tiles += (p.w->rows + rows - 1) / rows;
    work += static_cast<std::uint64_t>(p.w->rows) * p.w->columns * T;
  }
  // Token tiles are innermost, so that a row tile's weights are still in the cache for the next tokens.
  c.pass(row_tiles * token_tiles, work, [&](std::uint32_t tile, std::uint32_t worker) {
    std::uint32_t row_tile = tile / token_tiles;
    const std::uint32_t t0 = tile % token_tiles * tile_tokens;
    const std::uint32_t tokens = std::min(tile_tokens, T - t0);
    const Product* p = products.begin();
    std::uint32_t tile_rows;
    for (;; ++p) {
      tile_rows = rows_of(*p->w);
      const std::uint32_t tiles = (p->w->rows + tile_rows - 1) / tile_rows;
      if (row_tile < tiles) break;
      row_tile -= tiles;
    }
    const Matrix& w = *p->w;
    const std::uint32_t r0 = row_tile * tile_rows;
    const std::uint32_t rows = std::min(tile_rows, w.rows - r0);
    const bool blocks = info(w.type).quantized();
    const std::size_t act_stride = blocks ? x.columns / 32 : x.columns;
    const void* acts = blocks ? static_cast<const void*>(x.blocks + t0 * act_stride) : x.x + t0 * act_stride;
    float* y = p->y + static_cast<std::size_t>(t0) * w.rows + r0;
    c.kernels.matmul({w.type, w.row(r0), w.stride, rows, w.columns, acts, act_stride, tokens, y, w.rows,
                      c.worker_scratch(worker), w.pack});
    if (p->add_to)
      for (std::uint32_t t = 0; t < tokens; ++t)
        c.kernels.add(p->add_to + static_cast<std::size_t>(t0 + t) * w.rows + r0, y + static_cast<std::size_t>(t) * w.rows, rows);
  });
  if (!c.adaptation) return;
  for (const Product& p : products)
    c.adaptation->each(p.w, [&](const Adapted& l) { adapt(c, l, c.adaptation->inner, p.y, p.add_to, x, T); });
}

}  // namespace puna
