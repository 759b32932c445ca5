// The decoder block of Llama (Touvron et al., 2023) on one screen:
//   x += Wo attention(rope(Wq h), rope(Wk h), Wv h)   with h = norm(x)
//   x += W2 (silu(W1 h) * W3 h)                       with h = norm(x)
#pragma once

#include "puna/nn/attention.hpp"
#include "puna/nn/embedding.hpp"
#include "puna/nn/linear.hpp"
#include "puna/nn/params.hpp"
#include "puna/nn/rms_norm.hpp"
#include "puna/nn/swiglu.hpp"
#include "puna/nn/workspace.hpp"

namespace puna {

inline void block(const Compute& c, const Config& n, const BlockParams& w, Activations& a, const RopeTable& rope,
                  const CacheLayout& cache, std::uint32_t layer, const RowPlace* places, std::uint32_t T) {
  rms_norm(c, a.h, a.x, w.attn_norm, T, n.norm_epsilon);
  linear(c, a.h, T, {{&w.wq, a.q, nullptr}, {&w.wk, a.k, nullptr}, {&w.wv, a.v, nullptr}});
  rope_and_store(c, n, a.q, a.k, a.v, rope, cache, layer, places, T);
  attention(c, n, a.o, a.q, cache, layer, places, T);
  linear(c, a.o, T, {{&w.wo, a.y, a.x}});

  rms_norm(c, a.h, a.x, w.ffn_norm, T, n.norm_epsilon);
  linear(c, a.h, T, {{&w.gate, a.gate, nullptr}, {&w.up, a.up, nullptr}});
  swiglu(c, a.f, a.gate, a.up, T);
  linear(c, a.f, T, {{&w.down, a.y, a.x}});
}

// The whole model: T rows in, the logits of `wanted` [L] rows out.
struct PassInput {
  const std::int32_t* ids;      // [T]; negative: a row of embeddings
  const float* embeddings;      // [T][D], or null when no id is negative
  const RowPlace* places;       // [T]
  std::uint32_t T;
  const std::uint32_t* wanted;  // [L], ascending rows
  std::uint32_t L;
};

inline void decoder(const Compute& c, const Config& n, const Params& p, Activations& a, const RopeTable& rope,
                    const CacheLayout& cache, const PassInput& in) {
  embedding(c, a.x, p.embedding, in.ids, in.embeddings, in.T);
  for (std::uint32_t i = 0; i < n.N; ++i) block(c, n, p.blocks[i], a, rope, cache, i, in.places, in.T);
  if (in.L == 0) return;
  c.pass(in.L, static_cast<std::uint64_t>(in.L) * n.D * 4, [&](std::uint32_t i, std::uint32_t) {
    c.kernels.rms_norm(a.last.row(i), a.x + static_cast<std::size_t>(in.wanted[i]) * n.D, p.output_norm, n.D, n.norm_epsilon);
    a.last.seal(c.kernels, i);
  });
  linear(c, a.last, in.L, {{&p.output, a.logits, nullptr}});
}

}  // namespace puna
