// Causal attention with grouped queries: S = q k / sqrt(E), P = softmax(S), O = P v; query head h reads key head h / G.
// Keys and values live in pages of the cache; a row sees the positions of its own sequence up to its own.
#pragma once

#include <algorithm>
#include <cmath>

#include "puna/nn/cache_row.hpp"
#include "puna/nn/compute.hpp"
#include "puna/nn/config.hpp"
#include "puna/nn/hadamard.hpp"
#include "puna/nn/rope.hpp"

namespace puna {

// Saved for backward: q, k, v (recomputed) and per row and head the softmax's maximum and sum.
// Backward: dV_s = sum_t P_ts dO_t; D_t = dO_t . O_t; dS = P * (dO v - D); dq_t = sum_s dS_ts k_s / sqrt(E);
// dk_s = sum_t dS_ts q_t / sqrt(E); dk and dv are summed over the G heads that share them.

// Where a layer's keys and values are inside a page: for each layer and key head, [page_tokens][E] keys, then values.
struct CacheLayout {
  DType type = DType::f16;  // is_cache_type, and fits E
  std::uint32_t N = 0, K = 0, E = 0;

  // Keys and values are stored turned by a Hadamard transform.
  bool turned() const { return type == DType::q4_0; }
  std::size_t row() const { return static_cast<std::size_t>(row_bytes(type, E)); }
  std::size_t plane() const { return page_tokens * row(); }
  std::size_t page_bytes() const { return plane() * 2 * K * N; }
  std::size_t k_offset(std::uint32_t layer, std::uint32_t head) const { return plane() * 2 * (static_cast<std::size_t>(layer) * K + head); }
  std::size_t v_offset(std::uint32_t layer, std::uint32_t head) const { return k_offset(layer, head) + plane(); }
};

// A row of the pass: its position and the pages of its sequence.
struct RowPlace {
  std::byte* const* pages = nullptr;
  std::uint32_t position = 0;
};

// Rotates q and k in place and writes k and v to the cache.
inline void rope_and_store(const Compute& c, const Config& n, float* q, float* k, float* v, const RopeTable& rope,
                           const CacheLayout& cache, std::uint32_t layer, const RowPlace* places, std::uint32_t T) {
  c.pass(T, static_cast<std::uint64_t>(T) * (n.q_dim() + 2 * n.kv_dim()) * 2, [&](std::uint32_t t, std::uint32_t) {
    const auto [pages, position] = places[t];
    float* q_row = q + static_cast<std::size_t>(t) * n.q_dim();
    float* k_row = k + static_cast<std::size_t>(t) * n.kv_dim();
    float* v_row = v + static_cast<std::size_t>(t) * n.kv_dim();
    c.kernels.rope(q_row, rope.cos(position), rope.sin(position), n.H, n.E);
    c.kernels.rope(k_row, rope.cos(position), rope.sin(position), n.K, n.E);
    std::byte* slot = pages[position / page_tokens] + position % page_tokens * cache.row();
    for (std::uint32_t h = 0; cache.turned() && h < n.H; ++h) hadamard(q_row + h * n.E, n.E);
    for (std::uint32_t h = 0; h < n.K; ++h) {
      float* key = k_row + h * n.E;
      float* value = v_row + h * n.E;
      if (cache.turned()) hadamard(key, n.E), hadamard(value, n.E);
      store_cache_row(c.kernels, cache.type, slot + cache.k_offset(layer, h), key, n.E);
      store_cache_row(c.kernels, cache.type, slot + cache.v_offset(layer, h), value, n.E);
    }
  });
}

// Tokens of a tile, which share the keys that they load: as many as keep a step's budget at these keys, and every worker busy.
inline constexpr std::uint32_t attend_rows = 64;  // query heads of a tile, unless one token has more
inline std::uint32_t attend_tokens(const Config& n, std::uint32_t T, std::uint32_t keys, std::uint32_t width) {
  const std::uint64_t token = std::uint64_t{2} * keys * n.G() * n.E;
  std::uint64_t most = std::min<std::uint64_t>(attend_rows / n.G(), (8u << 20) / std::max<std::uint64_t>(token, 1));
  most = std::min(most, std::uint64_t{T} * n.K / (std::uint64_t{4} * width));
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(most, 1));
}

inline void attention(const Compute& c, const Config& n, const Rows& o, const float* q, const CacheLayout& cache,
                      std::uint32_t layer, const RowPlace* places, std::uint32_t T) {
  std::uint64_t work = 0;
  std::uint32_t deepest = 0;
  for (std::uint32_t t = 0; t < T; ++t) {
    work += 2ull * (places[t].position + 1) * n.q_dim();
    deepest = std::max(deepest, places[t].position + 1);
  }
  const std::uint32_t most = attend_tokens(n, T, deepest, c.pass.width());
  c.pass((T + most - 1) / most * n.K, work, [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t head = tile % n.K, end = std::min(T, (tile / n.K + 1) * most);
    for (std::uint32_t t = tile / n.K * most; t < end;) {
      // A run of one sequence's rows; those of several sequences may stand in any order.
      std::uint32_t run = 1;
      while (t + run < end && places[t + run].pages == places[t].pages && places[t + run].position == places[t].position + run) ++run;
      const std::size_t first = static_cast<std::size_t>(t) * n.q_dim() + static_cast<std::size_t>(head) * n.G() * n.E;
      c.kernels.attend({q + first, o.x + first, n.q_dim(), run, n.G(), n.E, places[t].position + 1, places[t].pages,
                        cache.k_offset(layer, head), cache.v_offset(layer, head), cache.type,
                        1.0f / std::sqrt(static_cast<float>(n.E)), c.worker_scratch(worker)});
      for (std::uint32_t i = 0; cache.turned() && i < run * n.G(); ++i)
        hadamard(o.x + first + static_cast<std::size_t>(i / n.G()) * n.q_dim() + i % n.G() * n.E, n.E);
      t += run;
    }
  });
  if (o.blocks)
    c.pass(T, static_cast<std::uint64_t>(T) * n.q_dim() * 4, [&](std::uint32_t t, std::uint32_t) { o.seal(c.kernels, t); });
}

}  // namespace puna
