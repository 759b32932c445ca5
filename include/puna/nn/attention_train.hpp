// Attention of whole texts, without a cache: forward as attention.hpp's, and backward. Texts lie one after the other in a
// pass; a row sees its own text up to itself. Scores of 64 rows are in a worker's scratch, never of all.
#pragma once

#include <cmath>

#include "puna/nn/attention.hpp"
#include "puna/nn/product.hpp"
#include "puna/nn/rows_back.hpp"

namespace puna {

// Where each row's text begins and ends among the rows of the pass.
struct Segments {
  const std::uint32_t* begin;  // [T]
  const std::uint32_t* end;    // [T]
  std::uint32_t position(std::uint32_t t) const { return t - begin[t]; }
};

inline constexpr std::uint32_t attention_rows = 64;
constexpr std::size_t attention_train_scratch(std::uint32_t longest) {
  return gemm_scratch + sizeof(float) * 2 * attention_rows * (static_cast<std::size_t>(longest) + attention_rows);
}

// q and k rotated in place; turn is 1, or -1 for gradients.
inline void rope_rows(const Compute& c, const Config& n, float* q, float* k, const RopeTable& rope, const Segments& s, std::uint32_t T,
                      float turn) {
  c.pass(T, static_cast<std::uint64_t>(T) * (n.q_dim() + n.kv_dim()) * 2, [&](std::uint32_t t, std::uint32_t) {
    const float *cos = rope.cos(s.position(t)), *sin = rope.sin(s.position(t));
    const auto rotate = [&](float* x, std::uint32_t width) {
      for (std::uint32_t first = 0; first < width; first += n.E)
        for (std::uint32_t j = 0; j < n.E / 2; ++j) {
          float* pair = x + first + 2 * j;
          const float a = pair[0], b = pair[1], y = turn * sin[j];
          pair[0] = a * cos[j] - b * y;
          pair[1] = a * y + b * cos[j];
        }
    };
    rotate(q + static_cast<std::size_t>(t) * n.q_dim(), n.q_dim());
    rotate(k + static_cast<std::size_t>(t) * n.kv_dim(), n.kv_dim());
  });
}

// What the tiles of one layer share.
struct AttentionRows {
  const Compute& c;
  const Config& n;
  const float *q, *k, *v;  // [T][H E], [T][K E], [T][K E]
  Segments s;
  std::uint32_t T;
  float scale = 1.0f / std::sqrt(static_cast<float>(n.E));

  std::uint32_t blocks() const { return (T + attention_rows - 1) / attention_rows; }
  std::uint64_t work() const {
    std::uint64_t seen = 0;
    for (std::uint32_t t = 0; t < T; ++t) seen += s.position(t) + 1;
    return 2 * seen * n.q_dim();
  }
  // to [rows][keys] = a b^T of one head, its rows in wider ones.
  void scores(float* to, const float* a, std::size_t a_row, std::uint32_t rows, const float* b, std::size_t b_row, std::uint32_t keys,
              std::byte* scratch) const {
    c.kernels.gemm({rows, keys, n.E, a, a_row, 1, b, 1, b_row, to, keys, 1.0f, false, scratch});
  }
};

// o [T][H E]; log_sums [H][T] are kept for backward.
inline void attention_train(const AttentionRows& r, float* o, float* log_sums) {
  const Config& n = r.n;
  r.c.pass(r.blocks() * n.H, r.work(), [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t head = tile % n.H, t0 = tile / n.H * attention_rows, rows = std::min(attention_rows, r.T - t0);
    const std::uint32_t first = r.s.begin[t0], keys = t0 + rows - first;
    std::byte* scratch = r.c.worker_scratch(worker);
    auto* p = reinterpret_cast<float*>(scratch + gemm_scratch);
    const std::size_t at = static_cast<std::size_t>(t0) * n.q_dim() + head * n.E;
    const std::size_t key = static_cast<std::size_t>(first) * n.kv_dim() + head / n.G() * n.E;
    r.scores(p, r.q + at, n.q_dim(), rows, r.k + key, n.kv_dim(), keys, scratch);
    for (std::uint32_t i = 0; i < rows; ++i) {
      const std::uint32_t t = t0 + i, from = r.s.begin[t] - first, end = t + 1 - first;
      float* row = p + static_cast<std::size_t>(i) * keys;
      softmax_row(row + from, end - from, r.scale, log_sums[static_cast<std::size_t>(head) * r.T + t]);
      std::fill(row, row + from, 0.0f);
      std::fill(row + end, row + keys, 0.0f);
    }
    r.c.kernels.gemm({rows, n.E, keys, p, keys, 1, r.v + key, n.kv_dim(), 1, o + at, n.q_dim(), 1.0f, false, scratch});
  });
}

// P and dS of rows [t0, t0 + rows) and one head against keys [first, first + keys); p and ds are [rows][keys].
inline void attention_scores_back(const AttentionRows& r, float* p, float* ds, std::uint32_t t0, std::uint32_t rows, std::uint32_t head,
                                  std::uint32_t first, std::uint32_t keys, const float* g, const float* o, const float* log_sums,
                                  std::byte* scratch) {
  const Config& n = r.n;
  const std::size_t at = static_cast<std::size_t>(t0) * n.q_dim() + head * n.E;
  const std::size_t key = static_cast<std::size_t>(first) * n.kv_dim() + head / n.G() * n.E;
  r.scores(p, r.q + at, n.q_dim(), rows, r.k + key, n.kv_dim(), keys, scratch);
  r.scores(ds, g + at, n.q_dim(), rows, r.v + key, n.kv_dim(), keys, scratch);
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint32_t t = t0 + i;
    // What this row sees of these keys.
    const std::uint32_t from = std::clamp(r.s.begin[t], first, first + keys) - first, end = std::clamp(t + 1, first, first + keys) - first;
    float *row = p + static_cast<std::size_t>(i) * keys, *d_row = ds + static_cast<std::size_t>(i) * keys;
    const std::uint32_t seen = end > from ? end - from : 0;
    const float d = dot_row(g + at + static_cast<std::size_t>(i) * n.q_dim(), o + at + static_cast<std::size_t>(i) * n.q_dim(), n.E);
    softmax_row_again(row + from, seen, r.scale, log_sums[static_cast<std::size_t>(head) * r.T + t]);
    softmax_row_back(d_row + from, row + from, seen, d, r.scale);
    for (float* x : {row, d_row}) {
      std::fill(x, x + std::min(from, keys), 0.0f);
      std::fill(x + std::max(from, end), x + keys, 0.0f);
    }
  }
}

// dq, dk, dv from g, the gradient of o. Two operations: a tile of the first owns rows of dq, of the second rows of dk and dv.
inline void attention_train_back(const AttentionRows& r, float* dq, float* dk, float* dv, const float* g, const float* o,
                                 const float* log_sums) {
  const Config& n = r.n;
  r.c.pass(r.blocks() * n.H, 2 * r.work(), [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t head = tile % n.H, t0 = tile / n.H * attention_rows, rows = std::min(attention_rows, r.T - t0);
    const std::uint32_t first = r.s.begin[t0], keys = t0 + rows - first;
    std::byte* scratch = r.c.worker_scratch(worker);
    auto* p = reinterpret_cast<float*>(scratch + gemm_scratch);
    float* ds = p + static_cast<std::size_t>(rows) * keys;
    attention_scores_back(r, p, ds, t0, rows, head, first, keys, g, o, log_sums, scratch);
    const std::size_t key = static_cast<std::size_t>(first) * n.kv_dim() + head / n.G() * n.E;
    r.c.kernels.gemm({rows, n.E, keys, ds, keys, 1, r.k + key, n.kv_dim(), 1, dq + static_cast<std::size_t>(t0) * n.q_dim() + head * n.E,
                      n.q_dim(), 1.0f, false, scratch});
  });
  r.c.pass(r.blocks() * n.K, 3 * r.work(), [&](std::uint32_t tile, std::uint32_t worker) {
    const std::uint32_t kv = tile % n.K, first = tile / n.K * attention_rows, keys = std::min(attention_rows, r.T - first);
    std::byte* scratch = r.c.worker_scratch(worker);
    auto* p = reinterpret_cast<float*>(scratch + gemm_scratch);
    const std::size_t key = static_cast<std::size_t>(first) * n.kv_dim() + kv * n.E;
    const std::uint32_t last = r.s.end[first + keys - 1];
    bool add = false;
    for (std::uint32_t head = kv * n.G(); head < (kv + 1) * n.G(); ++head)
      for (std::uint32_t t0 = first; t0 < last; t0 += attention_rows) {
        const std::uint32_t rows = std::min(attention_rows, last - t0);
        float* ds = p + static_cast<std::size_t>(rows) * keys;
        attention_scores_back(r, p, ds, t0, rows, head, first, keys, g, o, log_sums, scratch);
        const std::size_t at = static_cast<std::size_t>(t0) * n.q_dim() + head * n.E;
        r.c.kernels.gemm({keys, n.E, rows, p, 1, keys, g + at, n.q_dim(), 1, dv + key, n.kv_dim(), 1.0f, add, scratch});
        r.c.kernels.gemm({keys, n.E, rows, ds, 1, keys, r.q + at, n.q_dim(), 1, dk + key, n.kv_dim(), 1.0f, add, scratch});
        add = true;
      }
  });
}

}  // namespace puna
