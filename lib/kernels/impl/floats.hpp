// Products of float rows (f32, f16, bf16) with float activations: each output has lanes that run over k in ascending
// order, the last vector padded with zeros, then one fixed sum of the lanes. Conversions are exact, so it makes no
// difference whether they happen in a register or once into scratch.
#pragma once

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

// How a stored element becomes a float.
struct StoredF32 {
  static constexpr std::size_t size = 4;
  template <class A>
  static PUNA_INLINE typename A::F load(const std::byte* p) { return A::load_f32(p); }
  template <class A>
  static PUNA_INLINE typename A::F load_part(const std::byte* p, std::size_t n) {
    return A::load_part(reinterpret_cast<const float*>(p), n);
  }
};
template <bool Brain>
struct Stored16 {
  static constexpr std::size_t size = 2;
  template <class A>
  static PUNA_INLINE typename A::F load(const std::byte* p) {
    if constexpr (Brain) return A::load_bf16(p);
    else return A::load_f16(p);
  }
  template <class A>
  static PUNA_INLINE typename A::F load_part(const std::byte* p, std::size_t n) {
    alignas(32) std::byte part[2 * A::lanes] = {};
    std::memcpy(part, p, 2 * n);
    return load<A>(part);
  }
};
using StoredF16 = Stored16<false>;
using StoredBF16 = Stored16<true>;

// y[t][i] = row i . x[t], for RT rows (a multiple of 4; pointers may repeat) and T tokens.
// Fetch: the row `ahead` bytes on, which stands in this one's place in the next group, is fetched early.
template <class A, class Stored, int RT, int T>
PUNA_INLINE void float_tile(const std::byte* const* rows, const float* x, std::size_t x_stride, std::size_t n, float (&y)[T][RT]) {
  using F = typename A::F;
  F acc[T][RT];
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < RT; ++r) acc[t][r] = F(0.0f);
  std::size_t k = 0;
  for (; k + A::lanes <= n; k += A::lanes) {
    F xs[T];
    for (int t = 0; t < T; ++t) xs[t] = F::load_unaligned(x + static_cast<unsigned>(t) * x_stride + k);
    for (int r = 0; r < RT; ++r) {
      const F w = Stored::template load<A>(rows[r] + k * Stored::size);
      for (int t = 0; t < T; ++t) acc[t][r] = A::fma(w, xs[t], acc[t][r]);
    }
  }
  if (k < n) {
    for (int r = 0; r < RT; ++r) {
      const F w = Stored::template load_part<A>(rows[r] + k * Stored::size, n - k);
      for (int t = 0; t < T; ++t)
        acc[t][r] = A::fma(w, A::load_part(x + static_cast<unsigned>(t) * x_stride + k, n - k), acc[t][r]);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < RT; r += 4) A::sum4(acc[t][r], acc[t][r + 1], acc[t][r + 2], acc[t][r + 3], &y[t][r]);
}

struct FloatRows {  // what a float product reads and writes
  const std::byte* weights;
  std::size_t stride;
  std::uint32_t rows;
  const float* x;
  std::size_t x_stride;
  std::size_t n;
  float* y;
  std::size_t y_stride;
};

template <class A, class Stored, int RT, int T>
void float_group(const FloatRows& p, std::uint32_t row, std::uint32_t token) {
  const std::byte* rows[RT];
  for (std::uint32_t i = 0; i < RT; ++i) {
    const std::uint32_t r = row + i < p.rows ? row + i : p.rows - 1;
    rows[i] = p.weights + r * p.stride;
  }
  float y[T][RT];
  const float* x = p.x + token * p.x_stride;
  float_tile<A, Stored, RT, T>(rows, x, p.x_stride, p.n, y);
  const std::size_t count = p.rows - row < RT ? p.rows - row : RT;
  for (int t = 0; t < T; ++t) {
    float* to = p.y + (token + static_cast<unsigned>(t)) * p.y_stride + row;
    if (count == RT) std::memcpy(to, y[t], sizeof y[t]);
    else std::memcpy(to, y[t], count * sizeof(float));
  }
}

// Tokens from `token` on in tiles of T, what is left in smaller ones.
template <class A, class Stored, int T>
PUNA_INLINE void float_tokens(const FloatRows& p, std::uint32_t row, std::uint32_t token, std::uint32_t end) {
  for (; token + T <= end; token += T) float_group<A, Stored, A::tile_rows, T>(p, row, token);
  if constexpr (T > 1) float_tokens<A, Stored, T % 2 ? 1 : T / 2>(p, row, token, end);
}

// One token. Rows of a few kilobytes are too short for the hardware's prefetcher to follow several side by side: then
// the rows of a group come from four places far apart, each of which is read in order from row to row.
template <class A, class Stored>
void float_vector(const FloatRows& p, std::uint32_t token) {
  constexpr std::uint32_t streams = 4;
  const std::uint32_t apart = p.stride <= 4096 ? p.rows / streams : 0;
  const float* x = p.x + token * p.x_stride;
  float* y = p.y + token * p.y_stride;
  for (std::uint32_t i = 0; i < apart; ++i) {
    const std::byte* rows[streams];
    for (std::uint32_t s = 0; s < streams; ++s) rows[s] = p.weights + (i + s * apart) * p.stride;
    float part[1][streams];
    float_tile<A, Stored, streams, 1>(rows, x, p.x_stride, p.n, part);
    for (std::uint32_t s = 0; s < streams; ++s) y[i + s * apart] = part[0][s];
  }
  for (std::uint32_t row = apart * streams; row < p.rows; row += 8) float_group<A, Stored, 8, 1>(p, row, token);
}

template <class A, class Stored>
void float_product(const FloatRows& p, std::uint32_t first_token, std::uint32_t end_token) {
  if (end_token - first_token == 1) return float_vector<A, Stored>(p, first_token);
  for (std::uint32_t row = 0; row < p.rows; row += A::tile_rows)
    float_tokens<A, Stored, A::tile_tokens>(p, row, first_token, end_token);
}

// Many tokens: rows of 16-bit floats are converted once per group, into scratch.
template <class A, class Stored>
void converted_product(const MatmulTile& tile, FloatRows p, std::uint32_t first_token, std::uint32_t end_token) {
  using F = typename A::F;
  auto* scratch = reinterpret_cast<float*>(tile.scratch);
  const std::size_t padded = (p.n + A::lanes - 1) / A::lanes * A::lanes;
  const std::byte* weights = p.weights;
  for (std::uint32_t row = 0; row < tile.rows; row += A::tile_rows) {
    const std::uint32_t count = tile.rows - row < A::tile_rows ? tile.rows - row : A::tile_rows;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::byte* from = weights + (row + i) * tile.weight_stride;
      float* to = scratch + i * padded;
      std::size_t k = 0;
      for (; k + A::lanes <= p.n; k += A::lanes) F(Stored::template load<A>(from + k * 2)).store_unaligned(to + k);
      if (k < p.n) F(Stored::template load_part<A>(from + k * 2, p.n - k)).store_unaligned(to + k);
    }
    FloatRows group = p;
    group.weights = tile.scratch;
    group.stride = padded * sizeof(float);
    group.rows = count;
    group.y = p.y + row;
    float_tokens<A, StoredF32, A::tile_tokens>(group, 0, first_token, end_token);
  }
}

template <class A, class Stored>
void float_matmul(const MatmulTile& tile) {
  const FloatRows p{tile.weights, tile.weight_stride, tile.rows, static_cast<const float*>(tile.acts),
                    tile.act_stride, tile.columns, tile.y, tile.y_stride};
  // So many tokens at a time that their activations stay in the second-level cache while rows pass by.
  const std::uint32_t fitting = 65536 / (tile.columns ? tile.columns : 1);
  const std::uint32_t step = fitting < 2 * A::tile_tokens ? 2 * A::tile_tokens : fitting / A::tile_tokens * A::tile_tokens;
  for (std::uint32_t token = 0; token < tile.tokens; token += step) {
    const std::uint32_t end = tile.tokens - token < step ? tile.tokens : token + step;
    if (Stored::size == 2 && end - token > A::tile_tokens) converted_product<A, Stored>(tile, p, token, end);
    else float_product<A, Stored>(p, token, end);
  }
}

}  // namespace
}  // namespace puna
