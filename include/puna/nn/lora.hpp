// Low-rank adapters (Hu et al., 2021): y = W x + s B A dropout(x), A [r][columns], B [rows][r], s = alpha / r.
#pragma once

#include "puna/base/rng.hpp"
#include "puna/nn/product.hpp"

namespace puna {

// Saved for backward: u = A dropout(x) and the dropped x.
// Backward: dB += s g u^T; dA += (s B^T g) dropout(x)^T; dx += dropout'(A^T s B^T g).

struct Lora {
  std::uint32_t rank = 0;
  float scale = 0;
  const float* a = nullptr;  // [r][columns]
  const float* b = nullptr;  // [rows][r]
  float* da = nullptr;
  float* db = nullptr;
  std::uint32_t number = 0;  // of this adapter in the model: its own stream of dropout
  // DoRA (dora.hpp), else null:
  const float* m = nullptr;  // [rows]
  float* dm = nullptr;
  float* norms = nullptr;    // of the rows as they are in this pass
};

// Which elements a pass drops: counter-based, so that a recomputed block drops the same.
struct Dropout {
  float p = 0;  // 0: none
  std::uint64_t seed = 0;
  std::uint64_t pass = 0;   // counts micro-batches
  std::uint64_t first = 0;  // row of the micro-batch that the rows begin at
};

// y = x or 0, scaled to keep the mean; add: y += instead. In rows of n.
inline void dropout_rows(const Compute& c, float* y, const float* x, std::uint32_t T, std::size_t n, const Dropout& d,
                         std::uint32_t number, bool add) {
  const auto threshold = static_cast<std::uint32_t>(static_cast<double>(d.p) * 4294967296.0);
  const float keep = 1.0f / (1.0f - d.p);
  c.pass(T, static_cast<std::uint64_t>(T) * n * 8, [&](std::uint32_t t, std::uint32_t) {
    Rng rng(d.seed, (d.pass << 16 | number) + 1);
    rng.seek((d.first + t) * ((n + 1) / 2));
    for (std::size_t i = 0; i < n; i += 2) {
      const std::uint64_t bits = rng.next();
      for (std::size_t j = i; j < std::min(n, i + 2); ++j) {
        const auto draw = static_cast<std::uint32_t>(bits >> (32 * (j - i)));
        const float v = draw >= threshold ? x[t * n + j] * keep : 0.0f;
        y[t * n + j] = add ? y[t * n + j] + v : v;
      }
    }
  });
}

// Temporaries of a module's adapter.
struct LoraRows {
  float* u;        // [T][r], kept for backward
  float* gu;       // [T][r]
  float* dropped;  // [T][columns]; null without dropout
};

// u alone.
inline void lora_inner(const Compute& c, const Lora& l, const float* x, std::uint32_t T, std::uint32_t columns, const Dropout& d,
                       const LoraRows& r) {
  if (d.p > 0) dropout_rows(c, r.dropped, x, T, columns, d, l.number, false);
  product(c, {T, l.rank, columns, d.p > 0 ? r.dropped : x, columns, 1, l.a, 1, columns, r.u, 1.0f, false});
}

inline void lora(const Compute& c, const Lora& l, float* y, const float* x, std::uint32_t T, std::uint32_t columns, std::uint32_t rows,
                 const Dropout& d, const LoraRows& r) {
  lora_inner(c, l, x, T, columns, d, r);
  product(c, {T, rows, l.rank, r.u, l.rank, 1, l.b, 1, l.rank, y, l.scale, true});
}

// dx: null when it is not wanted.
inline void lora_back(const Compute& c, const Lora& l, float* dx, const float* g, const float* x, std::uint32_t T, std::uint32_t columns,
                      std::uint32_t rows, const Dropout& d, const LoraRows& r) {
  product(c, {T, l.rank, rows, g, rows, 1, l.b, l.rank, 1, r.gu, l.scale, false});
  outer_product(c, l.db, g, rows, r.u, l.rank, T, l.scale);
  if (d.p > 0) dropout_rows(c, r.dropped, x, T, columns, d, l.number, false);
  outer_product(c, l.da, r.gu, l.rank, d.p > 0 ? r.dropped : x, columns, T);
  if (!dx) return;
  if (d.p == 0) return product(c, {T, columns, l.rank, r.gu, l.rank, 1, l.a, columns, 1, dx, 1.0f, true});
  product(c, {T, columns, l.rank, r.gu, l.rank, 1, l.a, columns, 1, r.dropped, 1.0f, false});
  dropout_rows(c, dx, r.dropped, T, columns, d, l.number, true);
}

}  // namespace puna
