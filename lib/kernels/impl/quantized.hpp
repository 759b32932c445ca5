// Products of quantized rows with quantized activations.
//
// For each output: an exact integer dot product per scale, converted to float, then one chain of fused multiply-adds over
// the blocks in ascending order. The order depends on nothing else, so the two ways below give the same bits:
//   direct  few tokens: rows are read once, codes multiplied as they are unpacked, lanes summed across
//   panel   more tokens: a run of blocks is unpacked to scratch, four codes of each row side by side, then multiplied
#pragma once

#include "kernels/impl/types.hpp"

namespace puna {
namespace {

template <class A, class Step>
struct Quantized {
  using F = typename A::F;
  using I = typename A::I;
  static constexpr int R = A::lanes;
  static constexpr int parts = Step::per_16 ? 2 : 1;  // scales per block of 32
  static constexpr bool biased = Step::signed_codes && A::unsigned_weights;
  static constexpr int offset = Step::offset + (biased ? 128 : 0);
  static constexpr std::size_t unit_bytes = sizeof(typename Step::Block);

  struct Group {  // the rows of a group; a short group repeats its last row
    const std::byte* rows[R];
    int count;
  };

  static PUNA_INLINE Group group_at(const MatmulTile& tile, std::uint32_t first) {
    Group g;
    g.count = static_cast<int>(tile.rows - first < R ? tile.rows - first : R);
    for (int i = 0; i < R; ++i) {
      const std::uint32_t row = first + static_cast<std::uint32_t>(i < g.count ? i : g.count - 1);
      g.rows[i] = tile.weights + row * tile.weight_stride;
    }
    return g;
  }

  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, I& low, I& high) {
    Step::template codes<A>(rows, at, j, low, high);
    if constexpr (biased) {
      low = A::xor_(low, A::set8(-128));
      high = A::xor_(high, A::set8(-128));
    }
  }

  static PUNA_INLINE I unbias(I dot, std::int32_t sum) {
    if constexpr (offset != 0) return A::sub32(dot, A::set32(offset * sum));
    else return dot;
  }

  // One block's contribution, in the order that every path keeps.
  static PUNA_INLINE F accumulate(F acc, const I (&dots)[parts], const float* scales, const float* mins, const ActBlock& x) {
    const F d(x.d);
    if constexpr (Step::per_16) {
      acc = A::fma(A::to_float(unbias(dots[0], x.qsum_lo)), F::load_aligned(scales) * d, acc);
      acc = A::fma(A::to_float(unbias(dots[1], x.qsum_hi)), F::load_aligned(scales + R) * d, acc);
      if constexpr (Step::minimums) {
        acc = A::fma(F::load_aligned(mins), F(x.sum_lo), acc);
        acc = A::fma(F::load_aligned(mins + R), F(x.sum_hi), acc);
      }
    } else {
      acc = A::fma(A::to_float(unbias(dots[0], x.qsum_lo + x.qsum_hi)), F::load_aligned(scales) * d, acc);
      if constexpr (Step::minimums) acc = A::fma(F::load_aligned(mins), F(x.sum_lo + x.sum_hi), acc);
    }
    return acc;
  }

  static PUNA_INLINE void write(float* y, F v, int count) {
    if (count == R) v.store_unaligned(y);
    else A::store_part(y, v, static_cast<std::size_t>(count));
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

  template <int T>
  static PUNA_INLINE void direct_block(const Group& g, std::size_t at, int j, const ActBlock* const (&x)[T], std::size_t block,
                                       const float* scales, const float* mins, F (&acc)[T]) {
    I sums[T][parts][4];
    for (int i = 0; i < 4; ++i) {
      I low, high;
      codes(g.rows + i, at, j, low, high);
      for (int t = 0; t < T; ++t) {
        const std::int8_t* q = x[t][block].q;
        dot_block(low, high, A::splat16(q), A::splat16(q + 16), sums[t][0][i], sums[t][parts - 1][i]);
      }
    }
    for (int t = 0; t < T; ++t) {
      I dots[parts];
      for (int p = 0; p < parts; ++p) dots[p] = A::sums(sums[t][p][0], sums[t][p][1], sums[t][p][2], sums[t][p][3]);
      acc[t] = accumulate(acc[t], dots, scales, mins, x[t][block]);
    }
  }

  // A unit is not read in the order of its bytes, and R rows are that many streams: the hardware does not guess them.
  static constexpr std::size_t prefetch_ahead = 512;
  static PUNA_INLINE void prefetch(const Group& g, std::size_t at) {
    for (int i = 0; i < R; ++i)
      for (std::size_t line = 0; line < unit_bytes; line += 64) A::prefetch(g.rows[i] + at + line);
  }

  template <int T>
  static void direct(const MatmulTile& tile, std::uint32_t first_row, std::uint32_t first_token) {
    const Group g = group_at(tile, first_row);
    const ActBlock* x[T];
    F acc[T];
    for (int t = 0; t < T; ++t) {
      x[t] = static_cast<const ActBlock*>(tile.acts) + (first_token + static_cast<unsigned>(t)) * tile.act_stride;
      acc[t] = F(0.0f);
    }
    alignas(64) float scales[Step::blocks * parts * R];
    alignas(64) float mins[Step::minimums ? Step::blocks * parts * R : R];
    const std::size_t units = tile.columns / 32 / Step::blocks, bytes = units * unit_bytes;
    for (std::size_t u = 0; u < units; ++u) {
      const std::size_t at = u * unit_bytes;
      // Past the end of these rows the next group's begin.
      const std::size_t ahead = at + prefetch_ahead;
      prefetch(g, ahead < bytes ? ahead : ahead - bytes + R * tile.weight_stride);
      Step::template head<A>(g.rows, at, scales, mins);
      for (int j = 0; j < Step::blocks; ++j) {
        const int s = j * parts * R;
        direct_block<T>(g, at, j, x, u * Step::blocks + static_cast<unsigned>(j), scales + s, Step::minimums ? mins + s : mins, acc);
      }
    }
    for (int t = 0; t < T; ++t)
      write(tile.y + (first_token + static_cast<unsigned>(t)) * tile.y_stride + first_row, acc[t], g.count);
  }

  // ---- panel ----------------------------------------------------------------------------------------------------------

  // A block in scratch: eight vectors of codes (four of each row), then its scales, then its minimums.
  static constexpr std::size_t vector_bytes = R * 4;
  static constexpr std::size_t panel_bytes = vector_bytes * (8 + parts * (Step::minimums ? 2 : 1));
  static constexpr std::size_t run_blocks = 32;  // unpacked at a time: a panel stays in the first-level cache
  static_assert(panel_bytes <= 24 * 32 && run_blocks % Step::blocks == 0, "what matmul_scratch() counts on");

  static void unpack(const Group& g, std::size_t unit, std::size_t units, std::byte* to) {
    alignas(64) float scales[Step::blocks * parts * R];
    alignas(64) float mins[Step::minimums ? Step::blocks * parts * R : R];
    for (std::size_t u = unit; u < unit + units; ++u) {
      Step::template head<A>(g.rows, u * unit_bytes, scales, mins);
      for (int j = 0; j < Step::blocks; ++j, to += panel_bytes) {
        I low[4], high[4];
        for (int i = 0; i < 4; ++i) codes(g.rows + i, u * unit_bytes, j, low[i], high[i]);
        const Words<A> first = transpose<A>(low), second = transpose<A>(high);
        for (std::size_t i = 0; i < 4; ++i) {
          A::store(to + i * vector_bytes, first.w[i]);
          A::store(to + (4 + i) * vector_bytes, second.w[i]);
        }
        std::memcpy(to + 8 * vector_bytes, scales + j * parts * R, parts * vector_bytes);
        if constexpr (Step::minimums) std::memcpy(to + (8 + parts) * vector_bytes, mins + j * parts * R, parts * vector_bytes);
      }
    }
  }

  // Steps of four elements that 16-bit sums of pairs can take.
  static constexpr int steps_in_16bit() {
    const int steps = 32767 / (2 * 127 * Step::largest);
    return steps < 8 / parts ? steps : 8 / parts;
  }

  // Four or eight steps of a panel times T tokens.
  template <int T>
  static PUNA_INLINE void panel_dots(const std::byte* panel, int first, int last, const ActBlock* const (&x)[T], std::size_t block,
                                     I (&dots)[T]) {
    for (int t = 0; t < T; ++t) dots[t] = A::zero();
    if constexpr (A::sums_16bit && !Step::signed_codes) {
      constexpr int run = steps_in_16bit();
      static_assert(run >= 1 && (8 / parts) % run == 0);
      for (int s = first; s < last; s += run) {
        I pairs[T];
        for (int k = 0; k < run; ++k) {
          const I w = A::load(panel + static_cast<std::size_t>(s + k) * vector_bytes);
          for (int t = 0; t < T; ++t) {
            const I p = A::pairs16(w, A::splat4(x[t][block].q + 4 * (s + k)));
            pairs[t] = k == 0 ? p : A::add16(pairs[t], p);
          }
        }
        for (int t = 0; t < T; ++t) dots[t] = A::add32(dots[t], A::widen16(pairs[t]));
      }
    } else {
      for (int s = first; s < last; ++s) {
        const I w = A::load(panel + static_cast<std::size_t>(s) * vector_bytes);
        for (int t = 0; t < T; ++t) dots[t] = A::template dot<Step::signed_codes>(dots[t], w, A::splat4(x[t][block].q + 4 * s));
      }
    }
  }

  template <int T>
  static void panel_tile(const MatmulTile& tile, const std::byte* panel, std::size_t first_block, std::size_t blocks, float* y,
                         std::uint32_t first_token, int count) {
    const ActBlock* x[T];
    F acc[T];
    for (int t = 0; t < T; ++t) {
      x[t] = static_cast<const ActBlock*>(tile.acts) + (first_token + static_cast<unsigned>(t)) * tile.act_stride + first_block;
      const float* from = y + static_cast<unsigned>(t) * tile.y_stride;
      acc[t] = first_block == 0 ? F(0.0f) : count == R ? F::load_unaligned(from) : A::load_part(from, static_cast<std::size_t>(count));
    }
    for (std::size_t b = 0; b < blocks; ++b, panel += panel_bytes) {
      I dots[parts][T];
      for (int p = 0; p < parts; ++p) panel_dots<T>(panel, p * 8 / parts, (p + 1) * 8 / parts, x, b, dots[p]);
      const float* scales = reinterpret_cast<const float*>(panel + 8 * vector_bytes);
      for (int t = 0; t < T; ++t) {
        I own[parts];
        for (int p = 0; p < parts; ++p) own[p] = dots[p][t];
        acc[t] = accumulate(acc[t], own, scales, scales + parts * R, x[t][b]);
      }
    }
    for (int t = 0; t < T; ++t) write(y + static_cast<unsigned>(t) * tile.y_stride, acc[t], count);
  }

  template <int T>
  static PUNA_INLINE void panel_tiles(const MatmulTile& tile, const std::byte* panel, std::size_t block, std::size_t blocks,
                                      std::uint32_t row, std::uint32_t& token, int count) {
    for (; token + T <= tile.tokens; token += T)
      panel_tile<T>(tile, panel, block, blocks, tile.y + token * tile.y_stride + row, token, count);
    if constexpr (T > 1) panel_tiles<T / 2>(tile, panel, block, blocks, row, token, count);
  }

  static void panel(const MatmulTile& tile, std::uint32_t first_row) {
    const Group g = group_at(tile, first_row);
    const std::size_t blocks = tile.columns / 32;
    for (std::size_t b = 0; b < blocks; b += run_blocks) {
      const std::size_t run = blocks - b < run_blocks ? blocks - b : run_blocks;
      unpack(g, b / Step::blocks, run / Step::blocks, tile.scratch);
      std::uint32_t token = 0;
      panel_tiles<A::panel_tokens>(tile, tile.scratch, b, run, first_row, token, g.count);
    }
  }

  static void matmul(const MatmulTile& tile) {
    for (std::uint32_t row = 0; row < tile.rows; row += R) {
      if (tile.tokens >= 4) {
        panel(tile, row);
        continue;
      }
      std::uint32_t token = 0;
      if (tile.tokens >= 2) direct<2>(tile, row, 0), token = 2;
      if (token < tile.tokens) direct<1>(tile, row, token);
    }
  }
};

}  // namespace
}  // namespace puna
