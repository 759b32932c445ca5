// Causal attention with grouped queries: S = q k / sqrt(E), P = softmax(S), O = P v; query head h reads key head h / G.
// Keys and values live in pages of the cache; a row sees the positions of its own sequence up to its own.
#pragma once

#include <cmath>

#include "puna/nn/compute.hpp"
#include "puna/nn/config.hpp"
#include "puna/nn/rope.hpp"

namespace puna {

// Saved for backward: q, k, v (recomputed) and per row and head the softmax's maximum and sum.
// Backward: dV_s = sum_t P_ts dO_t; D_t = dO_t . O_t; dS = P * (dO v - D); dq_t = sum_s dS_ts k_s / sqrt(E);
// dk_s = sum_t dS_ts q_t / sqrt(E); dk and dv are summed over the G heads that share them.

// Where a layer's keys and values are inside a page: for each layer and key head, [page_tokens][E] keys, then values.
struct CacheLayout {
  DType type = DType::f16;  // f16 or f32
  std::uint32_t N = 0, K = 0, E = 0;

  std::size_t element() const { return type == DType::f16 ? 2 : 4; }
  std::size_t plane() const { return static_cast<std::size_t>(page_tokens) * E * element(); }
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
inline void rope_and_store(const Compute& c, const Config& n, float* q, float* k, const float* v, const RopeTable& rope,
                           const CacheLayout& cache, std::uint32_t layer, const RowPlace* places, std::uint32_t T) {
  c.pass(T, static_cast<std::uint64_t>(T) * (n.q_dim() + 2 * n.kv_dim()) * 2, [&](std::uint32_t t, std::uint32_t) {
    const auto [pages, position] = places[t];
    float* k_row = k + static_cast<std::size_t>(t) * n.kv_dim();
    const float* v_row = v + static_cast<std::size_t>(t) * n.kv_dim();
    c.kernels.rope(q + static_cast<std::size_t>(t) * n.q_dim(), rope.cos(position), rope.sin(position), n.H, n.E);
    c.kernels.rope(k_row, rope.cos(position), rope.sin(position), n.K, n.E);
    std::byte* slot = pages[position / page_tokens] + static_cast<std::size_t>(position % page_tokens) * n.E * cache.element();
    const auto put = [&](std::size_t offset, const float* x) {
      if (cache.type == DType::f16)
        c.kernels.to_half(reinterpret_cast<Half*>(slot + offset), x, n.E);
      else
        std::copy(x, x + n.E, reinterpret_cast<float*>(slot + offset));
    };
    for (std::uint32_t h = 0; h < n.K; ++h) {
      put(cache.k_offset(layer, h), k_row + h * n.E);
      put(cache.v_offset(layer, h), v_row + h * n.E);
    }
  });
}

inline void attention(const Compute& c, const Config& n, const Rows& o, const float* q, const CacheLayout& cache,
                      std::uint32_t layer, const RowPlace* places, std::uint32_t T) {
  std::uint64_t work = 0;
  for (std::uint32_t t = 0; t < T; ++t) work += 2ull * (places[t].position + 1) * n.q_dim();
  c.pass(T * n.K, work, [&](std::uint32_t tile, std::uint32_t worker) {
    const std::size_t t = tile / n.K, head = tile % n.K;
    const std::size_t first = t * n.q_dim() + head * n.G() * n.E;
    c.kernels.attend({q + first, o.x + first, n.G(), n.E, places[t].position + 1, places[t].pages,
                      cache.k_offset(layer, static_cast<std::uint32_t>(head)),
                      cache.v_offset(layer, static_cast<std::uint32_t>(head)), cache.type,
                      1.0f / std::sqrt(static_cast<float>(n.E)), c.worker_scratch(worker)});
  });
  if (o.blocks)
    c.pass(T, static_cast<std::uint64_t>(T) * n.q_dim() * 4, [&](std::uint32_t t, std::uint32_t) { o.seal(c.kernels, t); });
}

}  // namespace puna
