// Products of quantized rows with quantized activations.
//
// For each output: an exact integer dot product per scale, converted to float, then one chain of fused multiply-adds over
// the blocks in ascending order. The order depends on nothing else, so all ways below give the same bits:
//   panel   many tokens: a run of blocks of two groups of rows is unpacked to scratch, four codes of each row side by side
//   packed  one or two tokens and packed rows: the same products, from codes that are unpacked as they are read
//   direct  one token and rows as stored: codes multiplied along the row, lanes summed across
#pragma once

#include "kernels/impl/types.hpp"

namespace puna {
namespace {

template <class A, class Step>
struct Quantized {
  using F = typename A::F;
  using I = typename A::I;
  using Rows = RowsSource<A, typename Step::Block>;
  using Packed = PackedSource<A, Step::type>;
  static constexpr int R = A::lanes;
  static constexpr int parts = Step::per_16 ? 2 : 1;  // scales per block of 32
  static constexpr bool biased = Step::signed_codes && A::unsigned_weights;
  static constexpr int offset = Step::offset + (biased ? 128 : 0);
  static constexpr std::size_t unit_bytes = sizeof(typename Step::Block);
  static constexpr int scale_floats = Step::blocks * parts * R;  // of a unit
  static constexpr int minimum_floats = Step::minimums ? scale_floats : R;

  struct Group {  // the rows of a group; a short group repeats its last row
    const std::byte* rows[R];
    int count;
  };

  static PUNA_INLINE int count_at(const MatmulTile& tile, std::uint32_t first) {
    return static_cast<int>(tile.rows - first < R ? tile.rows - first : R);
  }
  static PUNA_INLINE Group group_at(const MatmulTile& tile, std::uint32_t first) {
    Group g;
    g.count = count_at(tile, first);
    for (int i = 0; i < R; ++i) {
      const std::uint32_t row = first + static_cast<std::uint32_t>(i < g.count ? i : g.count - 1);
      g.rows[i] = tile.weights + row * tile.weight_stride;
    }
    return g;
  }

  template <class Source>
  static PUNA_INLINE void codes(const Source& source, int i, int j, I& low, I& high) {
    Step::template codes<A>(source, i, j, low, high);
    if constexpr (biased) {
      low = A::xor_(low, A::set8(-128));
      high = A::xor_(high, A::set8(-128));
    }
  }

  // ---- one block's contribution, in the order that every way keeps ------------------------------------------------------

  static PUNA_INLINE I correction(std::int32_t sum) { return A::set32(offset * sum); }
  static PUNA_INLINE I unbias(I dot, I correction) {
    if constexpr (offset != 0) return A::sub32(dot, correction);
    else return dot;
  }
  static PUNA_INLINE F scaled(F acc, I dot, const float* scales, F d) {
    return A::fma(A::to_float(dot), F::load_aligned(scales) * d, acc);
  }
  static PUNA_INLINE F with_minimums(F acc, const float* mins, const ActBlock& x) {
    if constexpr (Step::minimums) {
      if constexpr (Step::per_16)
        return A::fma(F::load_aligned(mins + R), F(x.sum_hi), A::fma(F::load_aligned(mins), F(x.sum_lo), acc));
      else
        return A::fma(F::load_aligned(mins), F(x.sum_lo + x.sum_hi), acc);
    }
    return acc;
  }
  static PUNA_INLINE std::int32_t sum_of(const ActBlock& x, int part) {
    if constexpr (Step::per_16) return part ? x.qsum_hi : x.qsum_lo;
    else return x.qsum_lo + x.qsum_hi;
  }

  static PUNA_INLINE void write(float* y, F v, int count) {
    if (count == R) v.store_unaligned(y);
    else A::store_part(y, v, static_cast<std::size_t>(count));
  }

  // Steps of four elements that 16-bit sums of pairs can take.
  static constexpr int steps_in_16bit() {
    const int steps = 32767 / (2 * 127 * Step::largest);
    return steps < 8 / parts ? steps : 8 / parts;
  }

  // Steps first .. last-1 of a block's eight: G groups of rows times T tokens. Codes gives vector s of group g.
  template <int G, int T, class Codes>
  static PUNA_INLINE void dots(const Codes& codes, int first, int last, const ActBlock* const (&x)[T], std::size_t block,
                               I (&sums)[G][T]) {
    if constexpr (A::sums_16bit && !Step::signed_codes) {
      constexpr int run = steps_in_16bit();
      static_assert(run >= 1 && (8 / parts) % run == 0);
      for (int g = 0; g < G; ++g)
        for (int t = 0; t < T; ++t) sums[g][t] = A::zero();
      for (int s = first; s < last; s += run) {
        I pairs[G][T];
        for (int k = 0; k < run; ++k) {
          I w[G];
          for (int g = 0; g < G; ++g) w[g] = codes(g, s + k);
          for (int t = 0; t < T; ++t) {
            const I a = A::splat4(x[t][block].q + 4 * (s + k));
            for (int g = 0; g < G; ++g) {
              const I p = A::pairs16(w[g], a);
              pairs[g][t] = k == 0 ? p : A::add16(pairs[g][t], p);
              A::pin(pairs[g][t]);
            }
          }
        }
        for (int g = 0; g < G; ++g)
          for (int t = 0; t < T; ++t) sums[g][t] = A::add32(sums[g][t], A::widen16(pairs[g][t]));
      }
    } else {
      for (int g = 0; g < G; ++g)
        for (int t = 0; t < T; ++t) sums[g][t] = A::zero();
      for (int s = first; s < last; ++s) {
        I w[G];
        for (int g = 0; g < G; ++g) w[g] = codes(g, s);
        for (int t = 0; t < T; ++t) {
          const I a = A::splat4(x[t][block].q + 4 * s);
          for (int g = 0; g < G; ++g) {
            sums[g][t] = A::template dot<Step::signed_codes>(sums[g][t], w[g], a);
            A::pin(sums[g][t]);
          }
        }
      }
    }
  }

  template <int G, int T, class Codes>
  static PUNA_INLINE void block_times(const Codes& codes, const float* const (&scales)[G], const float* const (&mins)[G],
                                      const ActBlock* const (&x)[T], std::size_t block, F (&acc)[G][T]) {
    for (int p = 0; p < parts; ++p) {
      I sums[G][T];
      dots<G, T>(codes, p * 8 / parts, (p + 1) * 8 / parts, x, block, sums);
      for (int t = 0; t < T; ++t) {
        const I minus = correction(sum_of(x[t][block], p));
        const F d(x[t][block].d);
        for (int g = 0; g < G; ++g) acc[g][t] = scaled(acc[g][t], unbias(sums[g][t], minus), scales[g] + p * R, d);
      }
    }
    if constexpr (Step::minimums)
      for (int t = 0; t < T; ++t)
        for (int g = 0; g < G; ++g) acc[g][t] = with_minimums(acc[g][t], mins[g], x[t][block]);
  }

  // ---- direct ---------------------------------------------------------------------------------------------------------

  // Both halves of a block of one register's rows times a token.
  static PUNA_INLINE void dot_block(I low, I high, I a_low, I a_high, I& first, I& second) {
    if constexpr (Step::per_16) {
      first = A::template dot<Step::signed_codes>(A::zero(), low, a_low);
      second = A::template dot<Step::signed_codes>(A::zero(), high, a_high);
    } else if constexpr (A::sums_16bit && !Step::signed_codes) {
      first = A::widen16(A::add16(A::pairs16(low, a_low), A::pairs16(high, a_high)));
    } else {
      first = A::template dot<Step::signed_codes>(A::template dot<Step::signed_codes>(A::zero(), low, a_low), high, a_high);
    }
  }

  static PUNA_INLINE F direct_block(const Rows& rows, int j, const ActBlock& x, const float* scales, const float* mins, F acc) {
    I sums[parts][4];
    const I low_half = A::splat16(x.q), high_half = A::splat16(x.q + 16);
    for (int i = 0; i < 4; ++i) {
      I low, high;
      codes(rows, i, j, low, high);
      dot_block(low, high, low_half, high_half, sums[0][i], sums[parts - 1][i]);
    }
    for (int p = 0; p < parts; ++p) {
      const I dot = A::sums(sums[p][0], sums[p][1], sums[p][2], sums[p][3]);
      acc = scaled(acc, unbias(dot, correction(sum_of(x, p))), scales + p * R, F(x.d));
    }
    return with_minimums(acc, mins, x);
  }

  // A unit is not read in the order of its bytes, and R rows are that many streams: the hardware does not guess them.
  static constexpr std::size_t rows_ahead = 512;
  static PUNA_INLINE void prefetch(const Group& g, std::size_t at) {
    for (int i = 0; i < R; ++i)
      for (std::size_t line = 0; line < unit_bytes; line += 64) A::prefetch(g.rows[i] + at + line);
  }

  template <int T>
  static PUNA_INLINE void take_tokens(const MatmulTile& tile, std::uint32_t first, const ActBlock* (&x)[T]) {
    for (int t = 0; t < T; ++t)
      x[t] = static_cast<const ActBlock*>(tile.acts) + (first + static_cast<unsigned>(t)) * tile.act_stride;
  }

  static void direct(const MatmulTile& tile, std::uint32_t first_row) {
    const Group g = group_at(tile, first_row);
    const auto* x = static_cast<const ActBlock*>(tile.acts);
    F acc(0.0f);
    alignas(64) float scales[scale_floats];
    alignas(64) float mins[minimum_floats];
    const std::size_t units = tile.columns / 32 / Step::blocks, bytes = units * unit_bytes;
    for (std::size_t u = 0; u < units; ++u) {
      const std::size_t at = u * unit_bytes;
      // Past the end of these rows the next group's begin.
      const std::size_t ahead = at + rows_ahead;
      prefetch(g, ahead < bytes ? ahead : ahead - bytes + R * tile.weight_stride);
      const Rows rows{g.rows, at};
      Step::template head<A>(rows, scales, mins);
      for (int j = 0; j < Step::blocks; ++j, ++x)
        acc = direct_block(rows, j, *x, scales + j * parts * R, Step::minimums ? mins + j * parts * R : mins, acc);
    }
    write(tile.y + first_row, acc, g.count);
  }

  // ---- packed ---------------------------------------------------------------------------------------------------------

  static constexpr std::size_t packed_ahead = 3072;

  template <int T>
  static void packed(const MatmulTile& tile, std::uint32_t first_row) {
    const std::byte* unit = tile.weights + first_row * tile.weight_stride;
    const ActBlock* x[T];
    take_tokens<T>(tile, 0, x);
    F acc[1][T];
    for (int t = 0; t < T; ++t) acc[0][t] = F(0.0f);
    alignas(64) float scales[scale_floats];
    alignas(64) float mins[minimum_floats];
    const std::size_t units = tile.columns / 32 / Step::blocks;
    for (std::size_t u = 0; u < units; ++u, unit += R * unit_bytes) {
      for (std::size_t line = 0; line < R * unit_bytes; line += 64) A::prefetch_once(unit + packed_ahead + line);
      const Packed source{unit};
      Step::template head<A>(source, scales, mins);
      for (int j = 0; j < Step::blocks; ++j) {
        I low[4], high[4];
        for (int i = 0; i < 4; ++i) codes(source, i, j, low[i], high[i]);
        const auto vector = [&](int, int s) PUNA_LAMBDA_INLINE { return s < 4 ? low[s] : high[s - 4]; };
        const int s = j * parts * R;
        const float* const own_scales[1] = {scales + s};
        const float* const own_mins[1] = {Step::minimums ? mins + s : mins};
        block_times<1, T>(vector, own_scales, own_mins, x, u * Step::blocks + static_cast<unsigned>(j), acc);
      }
    }
    for (int t = 0; t < T; ++t)
      write(tile.y + static_cast<unsigned>(t) * tile.y_stride + first_row, acc[0][t], count_at(tile, first_row));
  }

  // ---- panel ----------------------------------------------------------------------------------------------------------

  // A block in scratch: eight vectors of codes (four of each row), then its scales, then its minimums.
  static constexpr std::size_t vector_bytes = R * 4;
  static constexpr std::size_t panel_bytes = vector_bytes * (8 + parts * (Step::minimums ? 2 : 1));
  static constexpr std::size_t run_blocks = 32;  // unpacked at a time: the panels stay in a near cache
  static constexpr int groups = A::panel_groups;
  static_assert(groups * R <= 32 && panel_bytes <= 12 * vector_bytes && run_blocks % Step::blocks == 0,
                "what matmul_scratch() counts on");

  static void unpack_rows(const MatmulTile& tile, std::uint32_t first_row, std::size_t unit, std::size_t units, std::byte* to) {
    const Group g = group_at(tile, first_row);
    alignas(64) float scales[scale_floats];
    alignas(64) float mins[minimum_floats];
    for (std::size_t u = unit; u < unit + units; ++u) {
      const Rows rows{g.rows, u * unit_bytes};
      Step::template head<A>(rows, scales, mins);
      for (int j = 0; j < Step::blocks; ++j, to += panel_bytes) {
        I low[4], high[4];
        for (int i = 0; i < 4; ++i) codes(rows, i, j, low[i], high[i]);
        const Words<A> first = transpose<A>(low), second = transpose<A>(high);
        for (std::size_t i = 0; i < 4; ++i) {
          A::store(to + i * vector_bytes, first.w[i]);
          A::store(to + (4 + i) * vector_bytes, second.w[i]);
        }
        put_scales(to, scales, mins, j);
      }
    }
  }
  static void unpack_packed(const MatmulTile& tile, std::uint32_t first_row, std::size_t unit, std::size_t units, std::byte* to) {
    const std::byte* from = tile.weights + first_row * tile.weight_stride + unit * R * unit_bytes;
    alignas(64) float scales[scale_floats];
    alignas(64) float mins[minimum_floats];
    for (std::size_t u = 0; u < units; ++u, from += R * unit_bytes) {
      const Packed source{from};
      Step::template head<A>(source, scales, mins);
      for (int j = 0; j < Step::blocks; ++j, to += panel_bytes) {
        for (int i = 0; i < 4; ++i) {
          I low, high;
          codes(source, i, j, low, high);
          A::store(to + static_cast<unsigned>(i) * vector_bytes, low);
          A::store(to + static_cast<unsigned>(4 + i) * vector_bytes, high);
        }
        put_scales(to, scales, mins, j);
      }
    }
  }
  static PUNA_INLINE void put_scales(std::byte* block, const float* scales, const float* mins, int j) {
    std::memcpy(block + 8 * vector_bytes, scales + j * parts * R, parts * vector_bytes);
    if constexpr (Step::minimums) std::memcpy(block + (8 + parts) * vector_bytes, mins + j * parts * R, parts * vector_bytes);
  }

  struct Panels {  // of neighbouring groups, for a run of blocks
    const std::byte* scratch;
    std::size_t stride;  // from group to group
    std::size_t first_block, blocks;
    std::uint32_t row;
    int counts[groups];  // rows of each group that are to be written
  };

  template <int G, int T>
  static void panel_tile(const MatmulTile& tile, const Panels& p, std::uint32_t first_token) {
    const ActBlock* x[T];
    take_tokens<T>(tile, first_token, x);
    F acc[G][T];
    for (int t = 0; t < T; ++t) {
      x[t] += p.first_block;
      for (int g = 0; g < G; ++g) {
        const int count = p.counts[g];
        const float* from = tile.y + (first_token + static_cast<unsigned>(t)) * tile.y_stride + p.row + static_cast<unsigned>(g * R);
        acc[g][t] = p.first_block == 0 ? F(0.0f)
                    : count == R       ? F::load_unaligned(from)
                                       : count            ? A::load_part(from, static_cast<std::size_t>(count))
                                       : F(0.0f);
      }
    }
    const std::byte* at = p.scratch;
    for (std::size_t b = 0; b < p.blocks; ++b, at += panel_bytes) {
      const auto vector = [at, stride = p.stride](int g, int s) PUNA_LAMBDA_INLINE {
        return A::load(at + static_cast<unsigned>(g) * stride + static_cast<unsigned>(s) * vector_bytes);
      };
      const float* scales[G];
      const float* mins[G];
      for (int g = 0; g < G; ++g) {
        scales[g] = reinterpret_cast<const float*>(at + static_cast<unsigned>(g) * p.stride + 8 * vector_bytes);
        mins[g] = scales[g] + parts * R;
      }
      block_times<G, T>(vector, scales, mins, x, b, acc);
    }
    for (int t = 0; t < T; ++t)
      for (int g = 0; g < G; ++g)
        if (p.counts[g])
          write(tile.y + (first_token + static_cast<unsigned>(t)) * tile.y_stride + p.row + static_cast<unsigned>(g * R), acc[g][t],
                p.counts[g]);
  }

  template <int G, int T>
  static void panel_tiles(const MatmulTile& tile, const Panels& p, std::uint32_t token) {
    for (; token + T <= tile.tokens; token += T) panel_tile<G, T>(tile, p, token);
    if constexpr (T > 1) panel_tiles<G, T % 2 ? 1 : T / 2>(tile, p, token);
  }

  static void panel(const MatmulTile& tile) {
    const std::size_t blocks = tile.columns / 32;
    for (std::uint32_t row = 0; row < tile.rows; row += groups * R) {
      const int here = tile.rows - row > R ? groups : 1;
      for (std::size_t b = 0; b < blocks; b += run_blocks) {
        const std::size_t run = blocks - b < run_blocks ? blocks - b : run_blocks;
        for (int g = 0; g < here; ++g)
          (tile.pack ? unpack_packed : unpack_rows)(tile, row + static_cast<unsigned>(g * R), b / Step::blocks, run / Step::blocks,
                                                    tile.scratch + static_cast<unsigned>(g) * run * panel_bytes);
        // A group alone at the end is paired with itself, and its twin's results are dropped.
        Panels p{tile.scratch, here > 1 ? run * panel_bytes : 0, b, run, row, {}};
        for (int g = 0; g < here; ++g) p.counts[g] = count_at(tile, row + static_cast<unsigned>(g * R));
        panel_tiles<groups, A::panel_tokens>(tile, p, 0);
      }
    }
  }

  static void matmul(const MatmulTile& tile) {
    if (tile.tokens > (tile.pack ? 2 : 1)) return panel(tile);
    for (std::uint32_t row = 0; row < tile.rows; row += R) {
      if (!tile.pack) direct(tile, row);
      else if (tile.tokens == 2) packed<2>(tile, row);
      else packed<1>(tile, row);
    }
  }
};

}  // namespace
}  // namespace puna
