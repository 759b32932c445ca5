// Attention of one token's heads that share a key head: a page of 64 positions at a time, with an online softmax.
// Scores are the float product with the page's keys as its rows. A page's scores are padded with -infinity, so that
// every element goes through the same vector operations wherever the last key stands.
#pragma once

#include "kernels/impl/floats.hpp"
#include "kernels/impl/vectors.hpp"

namespace puna {
namespace {

struct Running {  // a head's softmax so far; floats, kept in scratch
  float maximum;
  float sum;
};

template <class A, class Stored>
struct Attention {
  using F = typename A::F;
  static constexpr std::uint32_t vectors = page_tokens / A::lanes;

  const AttendTile& a;
  float* scores;     // [group][page_tokens], then weights
  Running* running;  // [group]

  explicit PUNA_INLINE Attention(const AttendTile& tile)
      : a(tile), scores(reinterpret_cast<float*>(tile.scratch)),
        running(reinterpret_cast<Running*>(tile.scratch + sizeof(float) * page_tokens * tile.group)) {}

  void score(const std::byte* page, std::uint32_t count) const {
    const FloatRows p{page + a.k_offset, a.head_dim * Stored::size, count, a.q, a.head_dim, a.head_dim, scores, page_tokens};
    float_product<A, Stored>(p, 0, a.group);
  }

  // Scores become weights e^(score - maximum); returns what the sums so far must be multiplied with.
  PUNA_INLINE float weigh(std::uint32_t head, std::uint32_t count) const {
    float* s = scores + static_cast<std::size_t>(head) * page_tokens;
    for (std::uint32_t j = count; j < page_tokens; ++j) s[j] = -infinity;
    const F scale(a.scale);
    F v[vectors];
    F largest(-infinity);
    for (std::uint32_t i = 0; i < vectors; ++i) {
      v[i] = F::load_aligned(s + i * A::lanes) * scale;
      largest = xsimd::max(largest, v[i]);
    }
    Running& r = running[head];
    const float page_maximum = max_lanes<A>(largest);
    const float maximum = page_maximum > r.maximum ? page_maximum : r.maximum;
    F sum(0.0f);
    for (std::uint32_t i = 0; i < vectors; ++i) {
      const F weight = xsimd::exp(v[i] - F(maximum));
      weight.store_aligned(s + i * A::lanes);
      sum = sum + weight;
    }
    alignas(64) float kept[A::lanes];
    xsimd::exp(F(r.maximum - maximum)).store_aligned(kept);
    const float keep = r.sum > 0.0f ? kept[0] : 0.0f;
    r.maximum = maximum;
    r.sum = r.sum * keep + sum_lanes<A>(sum);
    return keep;
  }

  // out = out * keep + the weighted values, for H heads and C vectors from element `at`; keys in ascending order.
  template <int H, int C>
  PUNA_INLINE void values(const std::byte* v, std::uint32_t count, std::uint32_t head, std::uint32_t at, const float* keep) const {
    F acc[H][C];
    float* out = a.out + static_cast<std::size_t>(head) * a.head_dim + at;
    const float* w = scores + static_cast<std::size_t>(head) * page_tokens;
    for (int h = 0; h < H; ++h)
      for (int c = 0; c < C; ++c)
        acc[h][c] = F::load_unaligned(out + static_cast<std::size_t>(h) * a.head_dim + c * A::lanes) * F(keep[h]);
    v += at * Stored::size;
    for (std::uint32_t j = 0; j < count; ++j, v += a.head_dim * Stored::size) {
      F value[C];
      for (int c = 0; c < C; ++c) value[c] = Stored::template load<A>(v + static_cast<std::size_t>(c * A::lanes) * Stored::size);
      for (int h = 0; h < H; ++h) {
        const F weight(w[static_cast<unsigned>(h) * page_tokens + j]);
        for (int c = 0; c < C; ++c) acc[h][c] = A::fma(weight, value[c], acc[h][c]);
      }
    }
    for (int h = 0; h < H; ++h)
      for (int c = 0; c < C; ++c) acc[h][c].store_unaligned(out + static_cast<std::size_t>(h) * a.head_dim + c * A::lanes);
  }

  void values_part(const std::byte* v, std::uint32_t count, std::uint32_t head, std::uint32_t at, float keep) const {
    const std::size_t n = a.head_dim - at;
    float* out = a.out + static_cast<std::size_t>(head) * a.head_dim + at;
    const float* w = scores + static_cast<std::size_t>(head) * page_tokens;
    F acc = A::load_part(out, n) * F(keep);
    v += at * Stored::size;
    for (std::uint32_t j = 0; j < count; ++j, v += a.head_dim * Stored::size)
      acc = A::fma(F(w[j]), Stored::template load_part<A>(v, n), acc);
    A::store_part(out, acc, n);
  }

  template <int H, int C>
  void heads(const std::byte* v, std::uint32_t count, std::uint32_t head, const float* keep) const {
    std::uint32_t at = 0;
    for (; at + C * A::lanes <= a.head_dim; at += C * A::lanes) values<H, C>(v, count, head, at, keep);
    for (; at + A::lanes <= a.head_dim; at += A::lanes) values<H, 1>(v, count, head, at, keep);
    if (at < a.head_dim)
      for (std::uint32_t h = 0; h < H; ++h) values_part(v, count, head + h, at, keep[h]);
  }

  void page(const std::byte* p, std::uint32_t count) const {
    score(p, count);
    const std::byte* v = p + a.v_offset;
    std::uint32_t h = 0;
    float keep[4];
    for (; h + 4 <= a.group; h += 4) {
      for (std::uint32_t i = 0; i < 4; ++i) keep[i] = weigh(h + i, count);
      heads<4, 2>(v, count, h, keep);
    }
    for (; h < a.group; ++h) {
      keep[0] = weigh(h, count);
      heads<1, 4>(v, count, h, keep);
    }
  }

  void finish() const {
    for (std::uint32_t h = 0; h < a.group; ++h) {
      float* out = a.out + static_cast<std::size_t>(h) * a.head_dim;
      const F sum(running[h].sum);
      over_vectors<A>(
          a.head_dim, [&](std::size_t i) { A::div(F::load_unaligned(out + i), sum).store_unaligned(out + i); },
          [&](std::size_t i, std::size_t m) { A::store_part(out + i, A::div(A::load_part(out + i, m), sum), m); });
    }
  }

  void run() const {
    for (std::uint32_t h = 0; h < a.group; ++h) running[h] = {-infinity, 0.0f};
    std::memset(a.out, 0, sizeof(float) * a.group * a.head_dim);
    for (std::uint32_t first = 0; first < a.keys; first += page_tokens)
      page(a.pages[first / page_tokens], a.keys - first < page_tokens ? a.keys - first : page_tokens);
    finish();
  }
};

template <class A>
void attend(const AttendTile& tile) {
  if (tile.cache_type == DType::f16) Attention<A, StoredF16>(tile).run();
  else Attention<A, StoredF32>(tile).run();
}

}  // namespace
}  // namespace puna
