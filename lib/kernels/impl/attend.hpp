// Attention of rows (query heads of tokens) that share a key head: a page of 64 positions at a time, with an online
// softmax. Rows do not mix, so whoever shares a call, a row's bits are its own; what is shared is the page: where several
// rows want it, its halves or blocks become floats once, a few keys or columns at a time, and stay in the first cache.
// A page's scores are padded with -infinity, so that every element goes through the same vector operations wherever the
// last key stands.
#pragma once

#include "kernels/impl/floats.hpp"
#include "kernels/impl/vectors.hpp"

namespace puna {
namespace {

struct Running {  // a row's softmax so far
  float maximum;
  float sum;
};

// A block of 32 cached numbers: a half, then codes; as floats, or as 16-bit integers.
struct StoredQ8 {
  static constexpr std::size_t block_bytes = sizeof(BlockQ8_0);
  template <class A>
  static PUNA_INLINE void floats(const std::byte* block, typename A::F (&v)[32 / A::lanes]) {
    for (int i = 0; i < 32 / A::lanes; ++i) v[i] = A::load_i8(block + 2 + i * A::lanes);
  }
  template <class A>
  static PUNA_INLINE void integers(const std::byte* block, typename A::I (&v)[16 / A::lanes]) { A::wide_i8(block + 2, v); }
};
struct StoredQ4 {  // low nibbles are the first half
  static constexpr std::size_t block_bytes = sizeof(BlockQ4_0);
  template <class A>
  static PUNA_INLINE void floats(const std::byte* block, typename A::F (&v)[32 / A::lanes]) {
    constexpr int half = 16 / A::lanes;
    for (int i = 0; i < half; ++i) {
      v[i] = A::template load_nibbles<false>(block + 2 + i * A::lanes);
      v[half + i] = A::template load_nibbles<true>(block + 2 + i * A::lanes);
    }
  }
  template <class A>
  static PUNA_INLINE void integers(const std::byte* block, typename A::I (&v)[16 / A::lanes]) { A::wide_nibbles(block + 2, v); }
};
template <class Stored>
concept Blocks = requires { Stored::block_bytes; };

constexpr std::uint32_t key_part = 16, column_part = 32;  // what is expanded at a time

template <class A, class Stored>
struct Attention {
  using F = typename A::F;
  static constexpr std::uint32_t vectors = page_tokens / A::lanes;
  static constexpr std::uint32_t lanes = A::lanes;

  const AttendTile& a;
  std::uint32_t rows;
  float* scores;   // [rows][page_tokens], then weights
  float* scaled;   // [rows][page_tokens] with blocks: weights times the values' scales
  float* part;     // a part of a page as floats
  const float* q;  // [rows][head_dim]
  float* out;      // [rows][head_dim]
  Running* running;
  float* keep;     // [rows] what a page multiplies the sums so far with
  float* q_scale;  // [rows] with blocks: q is q_scale times codes
  std::int16_t* q_codes;  // [rows][head_dim]

  explicit PUNA_INLINE Attention(const AttendTile& tile) : a(tile), rows(tile.tokens * tile.group) {
    const std::size_t padded = (std::size_t{a.head_dim} + 31) / 32 * 32;
    auto take = [next = reinterpret_cast<float*>(a.scratch)](std::size_t floats) mutable {
      float* from = next;
      next += (floats + 15) / 16 * 16;
      return from;
    };
    scores = take(std::size_t{rows} * page_tokens);
    scaled = take(std::size_t{rows} * page_tokens);
    part = take(key_part * padded > column_part * page_tokens ? key_part * padded : column_part * page_tokens);
    float* own_q = take(rows * padded);
    float* own_out = take(rows * padded);
    q_codes = reinterpret_cast<std::int16_t*>(take(rows * padded / 2));
    running = reinterpret_cast<Running*>(take(std::size_t{rows} * 2));
    keep = take(rows);
    q_scale = take(rows);
    const std::size_t width = std::size_t{a.group} * a.head_dim;
    if (a.tokens > 1)
      for (std::uint32_t t = 0; t < a.tokens; ++t) std::memcpy(own_q + t * width, a.q + t * a.stride, width * sizeof(float));
    q = a.tokens > 1 ? own_q : a.q;
    out = a.tokens > 1 ? own_out : a.out;
    if constexpr (Blocks<Stored>)
      for (std::uint32_t r = 0; r < rows; ++r) quantize_query(r);
  }

  // q as 16-bit codes: their rounding is nothing beside that of the keys, and their products with keys' codes are exact.
  void quantize_query(std::uint32_t row) const {
    const float* x = q + static_cast<std::size_t>(row) * a.head_dim;
    std::int16_t* to = q_codes + static_cast<std::size_t>(row) * a.head_dim;
    F largest(0.0f), probe(0.0f);  // the probe stays 0 unless an infinity or a NaN is among the values
    for (std::uint32_t i = 0; i < a.head_dim; i += lanes) {
      const F v = F::load_unaligned(x + i);
      largest = xsimd::max(largest, xsimd::abs(v));
      probe = probe + v * F(0.0f);
    }
    const bool finite = sum_lanes<A>(probe) == 0.0f;
    const float d = max_lanes<A>(largest) / 32767.0f;
    q_scale[row] = finite ? d : not_a_number;
    if (!finite || d == 0.0f) {
      std::memset(to, 0, a.head_dim * sizeof *to);
      return;
    }
    alignas(64) std::int32_t codes[A::lanes];
    for (std::uint32_t i = 0; i < a.head_dim; i += lanes) {
      const F code = xsimd::nearbyint(A::div(F::load_unaligned(x + i), F(d)));
      xsimd::to_int(xsimd::min(xsimd::max(code, F(-32767.0f)), F(32767.0f))).store_aligned(codes);
      for (std::uint32_t k = 0; k < lanes; ++k) to[i + k] = static_cast<std::int16_t>(codes[k]);
    }
  }

  static PUNA_INLINE std::size_t bytes_of(std::size_t elements) {
    if constexpr (Blocks<Stored>) return elements / 32 * Stored::block_bytes;
    else return elements * Stored::size;
  }
  std::size_t row_bytes() const { return bytes_of(a.head_dim); }
  // Few rows convert halves in registers, each time anew; that costs less than a detour through memory.
  bool direct() const { return std::is_same_v<Stored, StoredF32> || (!Blocks<Stored> && rows <= 8); }

  // Keys of a page that begins at position `first`, which row r sees.
  PUNA_INLINE std::uint32_t seen(std::uint32_t r, std::uint32_t first) const {
    const std::uint32_t n = a.keys + r / a.group - first;
    return n < page_tokens ? n : page_tokens;
  }

  // n elements as floats; the last vector of halves is padded with zeros. Of blocks the codes.
  static PUNA_INLINE void expand(const std::byte* from, std::uint32_t n, float* to) {
    if constexpr (Blocks<Stored>) {
      F v[32 / lanes];
      Stored::template floats<A>(from, v);
      for (std::uint32_t k = 0; k < 32 / lanes; ++k) v[k].store_aligned(to + k * lanes);
    } else {
      std::uint32_t i = 0;
      for (; i + lanes <= n; i += lanes) F(Stored::template load<A>(from + i * Stored::size)).store_aligned(to + i);
      if (i < n) F(Stored::template load_part<A>(from + i * Stored::size, n - i)).store_aligned(to + i);
    }
  }

  // ---- scores: products with the page's keys as rows ----
  // Of T rows with blocks: an exact integer sum per block and lane, then one chain over the blocks.
  template <int T>
  void block_scores(const std::byte* keys, std::uint32_t count, std::uint32_t row) const {
    const std::int16_t* x = q_codes + static_cast<std::size_t>(row) * a.head_dim;
    for (std::uint32_t j = 0; j < count; j += 4) {
      const std::byte* key[4];
      for (std::uint32_t r = 0; r < 4; ++r) key[r] = keys + (j + r < count ? j + r : count - 1) * row_bytes();
      F acc[T][4];
      for (int t = 0; t < T; ++t)
        for (int r = 0; r < 4; ++r) acc[t][r] = F(0.0f);
      for (std::uint32_t k = 0; k < a.head_dim; k += 32)
        for (int r = 0; r < 4; ++r) {
          const std::byte* block = key[r] + bytes_of(k);
          typename A::I codes[16 / lanes];
          Stored::template integers<A>(block, codes);
          const F scale = A::splat_half(block);
          for (int t = 0; t < T; ++t) {
            const std::int16_t* xt = x + static_cast<std::size_t>(t) * a.head_dim + k;
            typename A::I sum = A::pairs32(codes[0], xt);
            for (std::uint32_t i = 1; i < 16 / lanes; ++i) sum = A::add32(sum, A::pairs32(codes[i], xt + i * 2 * lanes));
            acc[t][r] = A::fma(A::to_float(sum), scale, acc[t][r]);
          }
        }
      float* s = scores + static_cast<std::size_t>(row) * page_tokens + j;  // a page's scores are a multiple of 4
      for (int t = 0; t < T; ++t) A::sum4(acc[t][0], acc[t][1], acc[t][2], acc[t][3], s + static_cast<std::size_t>(t) * page_tokens);
    }
  }

  void score(const std::byte* keys, std::uint32_t count, std::uint32_t first_row) const {
    [[maybe_unused]] const float* x = q + std::size_t{first_row} * a.head_dim;
    [[maybe_unused]] float* s = scores + std::size_t{first_row} * page_tokens;
    [[maybe_unused]] const std::uint32_t n = rows - first_row;
    if constexpr (Blocks<Stored>) {
      std::uint32_t r = first_row;
      for (; r + 2 <= rows; r += 2) block_scores<2>(keys, count, r);
      if (r < rows) block_scores<1>(keys, count, r);
    } else if (direct()) {
      const FloatRows p{keys, row_bytes(), count, x, a.head_dim, a.head_dim, s, page_tokens};
      float_product<A, Stored>(p, 0, n);
    } else {
      const std::uint32_t padded = (a.head_dim + lanes - 1) / lanes * lanes;
      for (std::uint32_t j = 0; j < count; j += key_part) {
        const std::uint32_t m = count - j < key_part ? count - j : key_part;
        for (std::uint32_t i = 0; i < m; ++i) expand(keys + (j + i) * row_bytes(), a.head_dim, part + std::size_t{i} * padded);
        const FloatRows p{reinterpret_cast<const std::byte*>(part), padded * sizeof(float), m, x, a.head_dim, a.head_dim, s + j,
                          page_tokens};
        for (std::uint32_t row = 0; row < m; row += A::tile_rows) float_tokens<A, StoredF32, A::tile_tokens>(p, row, 0, n);
      }
    }
  }

  // Scores become weights e^(score - maximum).
  PUNA_INLINE void weigh(std::uint32_t row, std::uint32_t count) const {
    float* s = scores + static_cast<std::size_t>(row) * page_tokens;
    for (std::uint32_t j = count; j < page_tokens; ++j) s[j] = -infinity;
    const F scale(Blocks<Stored> ? a.scale * q_scale[row] : a.scale);
    F v[vectors];
    F largest(-infinity);
    for (std::uint32_t i = 0; i < vectors; ++i) {
      v[i] = F::load_aligned(s + i * A::lanes) * scale;
      largest = xsimd::max(largest, v[i]);
    }
    Running& r = running[row];
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
    keep[row] = r.sum > 0.0f ? kept[0] : 0.0f;
    r.maximum = maximum;
    r.sum = r.sum * keep[row] + sum_lanes<A>(sum);
  }

  // ---- values: out = out * keep + the weighted values, keys in ascending order ----
  struct Columns {  // n elements from `at` of every value, and what to weigh them with
    const std::byte* v;
    std::size_t stride;
    std::uint32_t at, n;
    const float* weights;  // [rows][page_tokens]
  };
  struct Keys {
    std::uint32_t begin, end;
  };

  // For H rows and C vectors from element i of the columns.
  template <class From, int H, int C>
  PUNA_INLINE void values(const Columns& c, std::uint32_t i, Keys keys, std::uint32_t row, bool go_on) const {
    F acc[H][C];
    float* to = out + static_cast<std::size_t>(row) * a.head_dim + c.at + i;
    const float* w = c.weights + static_cast<std::size_t>(row) * page_tokens;
    for (int h = 0; h < H; ++h) {
      const F kept(go_on ? 1.0f : keep[row + static_cast<unsigned>(h)]);
      for (int k = 0; k < C; ++k) acc[h][k] = F::load_unaligned(to + static_cast<std::size_t>(h) * a.head_dim + k * A::lanes) * kept;
    }
    const std::byte* v = c.v + keys.begin * c.stride + i * From::size;
    for (std::uint32_t j = keys.begin; j < keys.end; ++j, v += c.stride) {
      F value[C];
      for (int k = 0; k < C; ++k) value[k] = From::template load<A>(v + static_cast<std::size_t>(k * A::lanes) * From::size);
      for (int h = 0; h < H; ++h) {
        const F weight(w[static_cast<unsigned>(h) * page_tokens + j]);
        for (int k = 0; k < C; ++k) acc[h][k] = A::fma(weight, value[k], acc[h][k]);
      }
    }
    for (int h = 0; h < H; ++h)
      for (int k = 0; k < C; ++k) acc[h][k].store_unaligned(to + static_cast<std::size_t>(h) * a.head_dim + k * A::lanes);
  }
  template <class From>
  void values_part(const Columns& c, std::uint32_t i, Keys keys, std::uint32_t row, bool go_on) const {
    const std::size_t n = c.n - i;
    float* to = out + static_cast<std::size_t>(row) * a.head_dim + c.at + i;
    const float* w = c.weights + static_cast<std::size_t>(row) * page_tokens;
    F acc = A::load_part(to, n) * F(go_on ? 1.0f : keep[row]);
    const std::byte* v = c.v + keys.begin * c.stride + i * From::size;
    for (std::uint32_t j = keys.begin; j < keys.end; ++j, v += c.stride)
      acc = A::fma(F(w[j]), From::template load_part<A>(v, n), acc);
    A::store_part(to, acc, n);
  }

  template <class From, int H>
  void values_of(const Columns& c, Keys keys, std::uint32_t row, bool go_on) const {
    constexpr int wide = 8 / H;
    std::uint32_t i = 0;
    for (; i + wide * lanes <= c.n; i += wide * lanes) values<From, H, wide>(c, i, keys, row, go_on);
    for (; i + lanes <= c.n; i += lanes) values<From, H, 1>(c, i, keys, row, go_on);
    if (i < c.n)
      for (std::uint32_t h = 0; h < H; ++h) values_part<From>(c, i, keys, row + h, go_on);
  }

  // One row alone, B blocks at a time: a weight times a scale, then its products with the codes.
  template <int B>
  PUNA_INLINE void block_values(const std::byte* v, std::uint32_t count, std::uint32_t at) const {
    constexpr int each = 32 / A::lanes;
    F acc[B][each];
    float* to = out + at;
    for (int b = 0; b < B; ++b)
      for (int k = 0; k < each; ++k) acc[b][k] = F::load_unaligned(to + 32 * b + k * A::lanes) * F(keep[0]);
    v += bytes_of(at);
    for (std::uint32_t j = 0; j < count; ++j, v += row_bytes()) {
      const F weight(scores[j]);
      for (int b = 0; b < B; ++b) {
        const std::byte* block = v + static_cast<std::size_t>(b) * Stored::block_bytes;
        const F w = weight * A::splat_half(block);
        F value[each];
        Stored::template floats<A>(block, value);
        for (int k = 0; k < each; ++k) acc[b][k] = A::fma(w, value[k], acc[b][k]);
      }
    }
    for (int b = 0; b < B; ++b)
      for (int k = 0; k < each; ++k) acc[b][k].store_unaligned(to + 32 * b + k * A::lanes);
  }

  // Weights times the scales of one block of each value.
  void scale_weights(const std::byte* block, std::uint32_t count, std::uint32_t first_row) const {
    alignas(64) std::uint16_t halves[page_tokens] = {};
    for (std::uint32_t j = 0; j < count; ++j) std::memcpy(&halves[j], block + j * row_bytes(), 2);
    for (std::uint32_t i = 0; i < page_tokens; i += lanes) {
      const F d = A::load_f16(reinterpret_cast<const std::byte*>(halves + i));
      for (std::uint32_t r = first_row; r < rows; ++r) {
        const std::size_t k = std::size_t{r} * page_tokens + i;
        (F::load_aligned(scores + k) * d).store_aligned(scaled + k);
      }
    }
  }

  // Rows in fours go through the keys that all four see, then each alone through the rest of its own.
  template <class From>
  void weighted(const Columns& c, std::uint32_t first, std::uint32_t first_row) const {
    std::uint32_t r = first_row;
    for (; r + 4 <= rows; r += 4) {
      const std::uint32_t common = seen(r, first);
      values_of<From, 4>(c, {0, common}, r, false);
      for (std::uint32_t h = r + 1; h < r + 4; ++h)
        if (seen(h, first) > common) values_of<From, 1>(c, {common, seen(h, first)}, h, true);
    }
    for (; r < rows; ++r) values_of<From, 1>(c, {0, seen(r, first)}, r, false);
  }

  void add_values(const std::byte* v, std::uint32_t count, std::uint32_t first, std::uint32_t first_row) const {
    if (rows == 1) {
      if constexpr (Blocks<Stored>) {
        constexpr int together = A::lanes / 4;  // eight sums
        std::uint32_t at = 0;
        for (; at + 32 * together <= a.head_dim; at += 32 * together) block_values<together>(v, count, at);
        for (; at < a.head_dim; at += 32) block_values<1>(v, count, at);
      } else {
        values_of<Stored, 1>({v, row_bytes(), 0, a.head_dim, scores}, {0, count}, 0, false);
      }
      return;
    }
    for (std::uint32_t at = 0; at < a.head_dim; at += column_part) {
      const std::uint32_t n = a.head_dim - at < column_part ? a.head_dim - at : column_part;
      if constexpr (!Blocks<Stored>)
        if (direct()) {
          weighted<Stored>({v + bytes_of(at), row_bytes(), at, n, scores}, first, first_row);
          continue;
        }
      if constexpr (!std::is_same_v<Stored, StoredF32>) {
        for (std::uint32_t j = 0; j < count; ++j) expand(v + j * row_bytes() + bytes_of(at), n, part + j * column_part);
        if constexpr (Blocks<Stored>) scale_weights(v + bytes_of(at), count, first_row);
        weighted<StoredF32>({reinterpret_cast<const std::byte*>(part), column_part * sizeof(float), at, n,
                             Blocks<Stored> ? scaled : scores}, first, first_row);
      }
    }
  }

  void page(const std::byte* p, std::uint32_t first) const {
    // Later tokens see a page that earlier ones may not have reached.
    const std::uint32_t first_row = first < a.keys ? 0 : (first - a.keys + 1) * a.group;
    const std::uint32_t count = seen(rows - 1, first);
    score(p + a.k_offset, count, first_row);
    for (std::uint32_t r = first_row; r < rows; ++r) weigh(r, seen(r, first));
    add_values(p + a.v_offset, count, first, first_row);
  }

  void finish() const {
    for (std::uint32_t r = 0; r < rows; ++r) {
      const float* from = out + static_cast<std::size_t>(r) * a.head_dim;
      float* to = a.out + r / a.group * a.stride + static_cast<std::size_t>(r % a.group) * a.head_dim;
      const F sum(running[r].sum);
      over_vectors<A>(
          a.head_dim, [&](std::size_t i) { A::div(F::load_unaligned(from + i), sum).store_unaligned(to + i); },
          [&](std::size_t i, std::size_t m) { A::store_part(to + i, A::div(A::load_part(from + i, m), sum), m); });
    }
  }

  void run() const {
    for (std::uint32_t r = 0; r < rows; ++r) running[r] = {-infinity, 0.0f};
    std::memset(out, 0, sizeof(float) * rows * a.head_dim);
    const std::uint32_t most = a.keys + a.tokens - 1;
    for (std::uint32_t first = 0; first < most; first += page_tokens) page(a.pages[first / page_tokens], first);
    finish();
  }
};

template <class A>
void attend(const AttendTile& tile) {
  switch (tile.cache_type) {
    case DType::f16: return Attention<A, StoredF16>(tile).run();
    case DType::q8_0: return Attention<A, StoredQ8>(tile).run();
    case DType::q4_0: return Attention<A, StoredQ4>(tile).run();
    default: return Attention<A, StoredF32>(tile).run();
  }
}

}  // namespace
}  // namespace puna
