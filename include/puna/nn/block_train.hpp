// The decoder block in training, both directions on one screen: the formulas of block.hpp on whole texts, without a cache.
// A block's input is kept, everything inside is computed again on the way back.
#pragma once

#include "puna/nn/attention_train.hpp"
#include "puna/nn/dora.hpp"
#include "puna/nn/embedding.hpp"
#include "puna/nn/params.hpp"
#include "puna/nn/rms_norm.hpp"
#include "puna/nn/swiglu.hpp"

namespace puna {

// What an adapter keeps for its backward.
struct AdapterRows {
  float* u = nullptr;  // [T][r]
  float* z = nullptr;  // [T][rows], DoRA's
};

// A projection as training sees it.
struct TrainLinear {
  Matrix w;
  float* dw = nullptr;   // [rows][columns], null: frozen
  const Lora* lora = nullptr;
  const Nf4View* nf4 = nullptr;  // what stands in for w's values, or null
  bool trained() const { return dw || lora; }
};

struct TrainBlock {
  const float* attn_norm = nullptr;
  float* d_attn_norm = nullptr;  // null: frozen
  TrainLinear wq, wk, wv, wo;
  const float* ffn_norm = nullptr;
  float* d_ffn_norm = nullptr;
  TrainLinear gate, up, down;
};

struct TrainParams {
  Matrix embedding;
  float* d_embedding = nullptr;
  std::vector<TrainBlock> blocks;
  const float* output_norm = nullptr;
  float* d_output_norm = nullptr;
  TrainLinear head;  // tied: its w and dw are the embedding's
};

inline constexpr std::uint32_t head_rows = 256;  // rows whose logits are in memory at once

struct TrainRows {
  float* x;                  // [N + 1][T][D] the residual stream before each block, and after the last
  float *h, *q, *k, *v, *o;  // of the block at hand
  float* log_sums;           // [H][T]
  float *mid, *h2;           // [T][D]
  float *gate, *up, *f;      // [T][F]
  float *dx, *dh;            // [T][D]
  float *dq, *dk, *dv, *d_o;
  float* df;                 // [T][F]
  float* inverse;            // [T]
  AdapterRows kept[7];       // of q k v o gate up down
  AdapterRows head_kept;     // [head_rows]
  float* gu;                 // [T][r]
  float* dropped;            // [T][max(D, H E, F)], or null
  float *last, *d_last;      // [L][D], the rows whose targets count
  float* logits;             // [head_rows][V]
  double* losses;            // [L]
};

struct TrainInput {
  const std::int32_t* ids;      // [T]
  std::uint32_t T;
  Segments segments;
  const std::uint32_t* wanted;  // [L], ascending rows
  const std::int32_t* targets;  // [L]
  std::uint32_t L;
  const float* weights;         // [L], of each target's loss
  Dropout dropout;
};

struct TrainCompute {
  const Compute& c;
  const Config& n;
  const RopeTable& rope;
  const TrainRows& r;
  const TrainInput& in;
};

// What backward needs of an adapter, without the product itself.
inline void forward_kept(const TrainCompute& s, const TrainLinear& l, const float* x, std::uint32_t T, const AdapterRows& kept, const Dropout& d) {
  const LoraRows rows{kept.u, s.r.gu, s.r.dropped};
  if (!l.lora) return;
  if (!l.lora->m) return lora_inner(s.c, *l.lora, x, T, l.w.columns, d, rows);
  weight_product(s.c, kept.z, x, T, l.w, false, l.nf4);
  lora(s.c, *l.lora, kept.z, x, T, l.w.columns, l.w.rows, d, rows);
}

inline void forward(const TrainCompute& s, const TrainLinear& l, float* y, const float* x, std::uint32_t T, const AdapterRows& kept, bool add,
                    std::uint64_t first_row = 0) {
  Dropout d = s.in.dropout;
  d.first = first_row;
  if (l.lora && l.lora->m) {
    forward_kept(s, l, x, T, kept, d);
    return dora_rows(s.c, *l.lora, y, kept.z, T, l.w.rows, add);
  }
  weight_product(s.c, y, x, T, l.w, add, l.nf4);
  if (l.lora) lora(s.c, *l.lora, y, x, T, l.w.columns, l.w.rows, d, {kept.u, s.r.gu, s.r.dropped});
}

// dx: null when nothing below is trained.
inline void backward(const TrainCompute& s, const TrainLinear& l, float* dx, const float* g, const float* x, std::uint32_t T,
                     const AdapterRows& kept, bool add, std::uint64_t first_row = 0) {
  if (l.lora && l.lora->m) {
    dora_back(s.c, *l.lora, kept.z, g, T, l.w.rows);
    g = kept.z;
  }
  if (dx) weight_product_back(s.c, dx, g, T, l.w, add, l.nf4);
  if (l.dw) outer_product(s.c, l.dw, g, l.w.rows, x, l.w.columns, T);
  Dropout d = s.in.dropout;
  d.first = first_row;
  if (l.lora) lora_back(s.c, *l.lora, dx, g, x, T, l.w.columns, l.w.rows, d, {kept.u, s.r.gu, s.r.dropped});
}

inline void copy_rows(const Compute& c, float* y, const float* x, std::uint32_t T, std::size_t n) {
  c.pass(T, static_cast<std::uint64_t>(T) * n, [&](std::uint32_t t, std::uint32_t) { std::copy(x + t * n, x + (t + 1) * n, y + t * n); });
}

// From the block's input to what backward reads; out: null when only that is wanted.
inline void block_train(const TrainCompute& s, const TrainBlock& w, const float* x, float* out) {
  const auto& [c, n, rope, r, in] = s;
  rms_norm(c, {r.h, nullptr, n.D}, x, w.attn_norm, in.T, n.norm_epsilon);
  forward(s, w.wq, r.q, r.h, in.T, r.kept[0], false);
  forward(s, w.wk, r.k, r.h, in.T, r.kept[1], false);
  forward(s, w.wv, r.v, r.h, in.T, r.kept[2], false);
  rope_rows(c, n, r.q, r.k, rope, in.segments, in.T, 1.0f);
  attention_train({c, n, r.q, r.k, r.v, in.segments, in.T}, r.o, r.log_sums);
  copy_rows(c, r.mid, x, in.T, n.D);
  forward(s, w.wo, r.mid, r.o, in.T, r.kept[3], true);

  rms_norm(c, {r.h2, nullptr, n.D}, r.mid, w.ffn_norm, in.T, n.norm_epsilon);
  forward(s, w.gate, r.gate, r.h2, in.T, r.kept[4], false);
  forward(s, w.up, r.up, r.h2, in.T, r.kept[5], false);
  swiglu(c, {r.f, nullptr, n.F}, r.gate, r.up, in.T);
  if (!out) return forward_kept(s, w.down, r.f, in.T, r.kept[6], in.dropout);
  copy_rows(c, out, r.mid, in.T, n.D);
  forward(s, w.down, out, r.f, in.T, r.kept[6], true);
}

// r.dx: the gradient of the block's output in, of its input out.
inline void block_back(const TrainCompute& s, const TrainBlock& w, const float* x, bool into_input) {
  const auto& [c, n, rope, r, in] = s;
  block_train(s, w, x, nullptr);
  backward(s, w.down, r.df, r.dx, r.f, in.T, r.kept[6], false);
  swiglu_back(c, r.df, r.gate, r.up, in.T, n.F);
  backward(s, w.gate, r.dh, r.gate, r.h2, in.T, r.kept[4], false);
  backward(s, w.up, r.dh, r.up, r.h2, in.T, r.kept[5], true);
  rms_norm_back(c, r.dx, r.dh, r.mid, w.ffn_norm, r.inverse, in.T, n.D, n.norm_epsilon, true);
  if (w.d_ffn_norm) rms_norm_weight_back(c, w.d_ffn_norm, r.dh, r.mid, r.inverse, in.T, n.D);

  backward(s, w.wo, r.d_o, r.dx, r.o, in.T, r.kept[3], false);
  attention_train_back({c, n, r.q, r.k, r.v, in.segments, in.T}, r.dq, r.dk, r.dv, r.d_o, r.o, r.log_sums);
  rope_rows(c, n, r.dq, r.dk, rope, in.segments, in.T, -1.0f);
  float* dh = into_input || w.d_attn_norm ? r.dh : nullptr;
  backward(s, w.wq, dh, r.dq, r.h, in.T, r.kept[0], false);
  backward(s, w.wk, dh, r.dk, r.h, in.T, r.kept[1], true);
  backward(s, w.wv, dh, r.dv, r.h, in.T, r.kept[2], true);
  if (!dh) return;
  rms_norm_back(c, r.dx, r.dh, x, w.attn_norm, r.inverse, in.T, n.D, n.norm_epsilon, true);
  if (w.d_attn_norm) rms_norm_weight_back(c, w.d_attn_norm, r.dh, x, r.inverse, in.T, n.D);
}

// The loss of the wanted rows, and with `learn` the gradient of what comes out of the last block. Logits exist for a few rows at a time.
inline void head_train(const TrainCompute& s, const TrainParams& p, const float* x, bool learn) {
  const auto& [c, n, rope, r, in] = s;
  const std::size_t D = n.D;
  c.pass(in.L, static_cast<std::uint64_t>(in.L) * D * 4, [&](std::uint32_t i, std::uint32_t) {
    c.kernels.rms_norm(r.last + i * D, x + in.wanted[i] * D, p.output_norm, D, n.norm_epsilon);
  });
  for (std::uint32_t first = 0; first < in.L; first += head_rows) {
    const std::uint32_t rows = std::min(head_rows, in.L - first);
    const float* last = r.last + first * D;
    forward(s, p.head, r.logits, last, rows, r.head_kept, false, first);
    c.pass(rows, static_cast<std::uint64_t>(rows) * n.V * 12, [&](std::uint32_t i, std::uint32_t) {
      r.losses[first + i] = cross_entropy_row(r.logits + static_cast<std::size_t>(i) * n.V, n.V, in.targets[first + i], in.weights[first + i]);
    });
    if (learn) backward(s, p.head, r.d_last + first * D, r.logits, last, rows, r.head_kept, false, first);
  }
  if (!learn) return;
  c.pass(in.T, static_cast<std::uint64_t>(in.T) * D, [&](std::uint32_t t, std::uint32_t) { std::fill(r.dx + t * D, r.dx + (t + 1) * D, 0.0f); });
  c.pass(in.L, static_cast<std::uint64_t>(in.L) * D * 6, [&](std::uint32_t i, std::uint32_t) {
    const std::size_t at = in.wanted[i] * D;
    r.inverse[i] = rms_norm_row_back(r.dx + at, r.d_last + i * D, x + at, p.output_norm, D, n.norm_epsilon, false);
  });
  if (p.d_output_norm) {
    // x of the wanted rows, where `last` was: no one reads that again.
    c.pass(in.L, static_cast<std::uint64_t>(in.L) * D, [&](std::uint32_t i, std::uint32_t) {
      std::copy(x + in.wanted[i] * D, x + (in.wanted[i] + 1) * D, r.last + i * D);
    });
    rms_norm_weight_back(c, p.d_output_norm, r.d_last, r.last, r.inverse, in.L, D);
  }
}

// DoRA's norms follow the adapters, which change from step to step.
inline void dora_norms(const TrainCompute& s, const TrainParams& p) {
  const auto one = [&](const TrainLinear& l) {
    if (l.lora && l.lora->m) row_norms(s.c, l.lora->norms, l.w, l.lora->rank, l.lora->a, l.lora->b, l.lora->scale);
  };
  for (const TrainBlock& b : p.blocks)
    for (const TrainLinear* l : {&b.wq, &b.wk, &b.wv, &b.wo, &b.gate, &b.up, &b.down}) one(*l);
  one(p.head);
}

// What comes out of the last block. keep: every block's input, for the way back.
inline const float* train_forward(const TrainCompute& s, const TrainParams& p, bool keep) {
  const auto& [c, n, rope, r, in] = s;
  const std::size_t plane = static_cast<std::size_t>(in.T) * n.D;
  const auto x = [&](std::uint32_t i) { return r.x + (keep ? i : i % 2) * plane; };
  dora_norms(s, p);
  embedding(c, x(0), p.embedding, in.ids, nullptr, in.T);
  for (std::uint32_t i = 0; i < n.N; ++i) block_train(s, p.blocks[i], x(i), x(i + 1));
  return x(n.N);
}

inline void train_back(const TrainCompute& s, const TrainParams& p) {
  const auto& [c, n, rope, r, in] = s;
  const std::size_t plane = static_cast<std::size_t>(in.T) * n.D;
  for (std::uint32_t i = n.N; i-- > 0;) block_back(s, p.blocks[i], r.x + i * plane, i > 0 || p.d_embedding);
  if (p.d_embedding) embedding_back(c, p.d_embedding, r.dx, in.ids, in.T, n.D);
}

// A pass over whole texts: losses, and with `learn` gradients, added to those that are there.
inline void train_pass(const TrainCompute& s, const TrainParams& p, bool learn) {
  const float* x = train_forward(s, p, learn);
  head_train(s, p, x, learn);
  if (learn) train_back(s, p);
}

}  // namespace puna
