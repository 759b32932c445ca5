// The searches of the encoders (tensor/encode_kernels.hpp), one group per lane: each lane adds its group's numbers in the
// order of the plain loops and never fuses, so the bits are theirs. Branches become selections.
//
// Rounding by adding 1.5 * 2^23 is exact below 2^22. Where a lane's numbers might not be (degenerate groups), the whole
// vector of groups goes to the plain loops, whatever they do there.
#pragma once

#include "kernels/impl/types.hpp"
#include "puna/tensor/encode_kernels.hpp"

namespace puna {
namespace {

template <class A>
struct Encode {
  using F = typename A::F;
  using B = typename F::batch_bool_type;
  static constexpr std::uint32_t R = A::lanes;

  static PUNA_INLINE F nearest(F v) { return (v + F(12582912.0f)) - F(12582912.0f); }
  static PUNA_INLINE F clamped(F v, F low, F high) { return xsimd::min(xsimd::max(nearest(v), low), high); }
  static PUNA_INLINE B within(F v, float bound) { return xsimd::abs(v) < F(bound); }  // false for NaN
  static constexpr float exact_below = 4194303.0f;
  static constexpr float sane_below = 1e15f;
  static constexpr float too_small = 1e-15f;  // as in the plain loops

  // R groups of a tile, the last ones repeated where there are fewer.
  struct Groups {
    F x[32], w[32];
    int n;
  };

  static PUNA_INLINE void load(const float* from, std::uint32_t first, const FitTile& t, F* to) {
    const std::byte* rows[R];
    for (std::uint32_t r = 0; r < R; ++r) {
      const std::uint32_t g = first + r < t.groups ? first + r : t.groups - 1;
      rows[r] = reinterpret_cast<const std::byte*>(from + std::size_t{g} * t.n);
    }
    for (std::uint32_t i = 0; i < t.n; i += 4) {
      const Words<A> words = words_at<A>(rows, i * 4);
      for (std::uint32_t k = 0; k < 4; ++k) to[i + k] = A::bits(words.w[k]);
    }
  }

  // One number per group.
  static PUNA_INLINE F load_each(const float* from, std::uint32_t first, const FitTile& t) {
    return t.groups - first >= R ? F::load_unaligned(from + first) : A::load_part(from + first, t.groups - first);
  }
  static PUNA_INLINE void store_each(float* to, F v, std::uint32_t first, const FitTile& t) {
    if (t.groups - first >= R) v.store_unaligned(to + first);
    else A::store_part(to + first, v, t.groups - first);
  }

  static void weigh(const FitTile& t, std::uint32_t first, Groups& g) {
    if (t.weigh == Weigh::importance || t.weigh == Weigh::given) load(t.importance, first, t, g.w);
    F level(0.0f);  // the group's share of every weight
    if (t.weigh == Weigh::importance) level = load_each(t.variance, first, t);
    if (t.weigh == Weigh::average) {
      for (int i = 0; i < g.n; ++i) level = level + g.x[i] * g.x[i];
      level = A::sqrt(A::div(level, F(static_cast<float>(g.n))));
    }
    switch (t.weigh) {
      case Weigh::square:
        for (int i = 0; i < g.n; ++i) g.w[i] = g.x[i] * g.x[i];
        break;
      case Weigh::absolute:
        for (int i = 0; i < g.n; ++i) g.w[i] = xsimd::abs(g.x[i]);
        break;
      case Weigh::average:
        for (int i = 0; i < g.n; ++i) g.w[i] = level + xsimd::abs(g.x[i]);
        break;
      case Weigh::importance:
        for (int i = 0; i < g.n; ++i) g.w[i] = g.w[i] * A::sqrt(level + g.x[i] * g.x[i]);
        break;
      case Weigh::given: break;
    }
    if (t.weight_sums) {
      F sum(0.0f);
      for (int i = 0; i < g.n; ++i) sum = sum + g.w[i];
      store_each(t.weight_sums, sum, first, t);
    }
  }

  static void load_groups(const FitTile& t, std::uint32_t first, Groups& g) {
    g.n = static_cast<int>(t.n);
    load(t.x, first, t, g.x);
    weigh(t, first, g);
  }

  // Of each group the number that is largest by absolute value, with its sign; the first of equals.
  static PUNA_INLINE F extreme(const Groups& g, F& largest) {
    F value(0.0f);
    largest = F(0.0f);
    for (int i = 0; i < g.n; ++i) {
      const F a = xsimd::abs(g.x[i]);
      const B more = a > largest;
      largest = xsimd::select(more, a, largest);
      value = xsimd::select(more, g.x[i], value);
    }
    return value;
  }

  // The plain loops for the R groups from `first`.
  static void plainly(void (*fit)(const FitTile&), const FitTile& t, std::uint32_t first) {
    FitTile part = t;
    part.groups = t.groups - first < R ? t.groups - first : R;
    const std::size_t at = std::size_t{first} * t.n;
    part.x += at;
    if (part.importance) part.importance += at;
    if (part.codes) part.codes += at;
    if (part.variance) part.variance += first;
    part.scales += first;
    if (part.minimums) part.minimums += first;
    if (part.weight_sums) part.weight_sums += first;
    fit(part);
  }

  // Codes clamp(nearest(a * (x - b)), low, high) - low, or with a division instead, group by group in memory's order.
  // Returns false where a value was too large to be rounded so.
  template <bool Divide>
  static PUNA_INLINE bool code_group(const float* x, std::uint32_t n, float a, float b, int low, int high,
                                     std::uint8_t* codes) {
    alignas(64) std::int32_t whole[32];
    B exact = F(0.0f) == F(0.0f);
    const F lowest(static_cast<float>(low)), highest(static_cast<float>(high));
    for (std::uint32_t i = 0; i < n; i += R) {
      const F difference = F::load_unaligned(x + i) - F(b);
      const F v = Divide ? A::div(difference, F(a)) : F(a) * difference;
      exact = exact & within(v, exact_below);
      xsimd::to_int(clamped(v, lowest, highest) - lowest).store_aligned(whole + i);
    }
    for (std::uint32_t half = 0; half < n; half += 16)
      for (std::uint32_t i = half; i < half + 16; ++i) codes[i] = static_cast<std::uint8_t>(whole[i]);
    return xsimd::all(exact);
  }

  static void code_groups(const FitTile& t, std::uint32_t first, F inverse, F minimum, int low, int high) {
    alignas(64) float a[R], b[R];
    inverse.store_aligned(a);
    minimum.store_aligned(b);
    for (std::uint32_t r = 0; r < R && first + r < t.groups; ++r) {
      const std::size_t at = std::size_t{first + r} * t.n;
      code_group<false>(t.x + at, t.n, a[r], b[r], low, high, t.codes + at);
    }
  }

  // ---- x ~ scale * codes - minimum ---------------------------------------------------------------------------------

  struct Affine {
    F scale, minimum, best;
    F inverse, offset;  // what the codes are made with
    F sum_w, sum_x;
  };

  template <bool Absolute>
  static PUNA_INLINE F affine_error(const Groups& g, const F* l, F scale, F minimum) {
    F sum(0.0f);
    for (int i = 0; i < g.n; ++i) {
      const F difference = scale * l[i] + minimum - g.x[i];
      sum = sum + g.w[i] * (Absolute ? xsimd::abs(difference) : difference * difference);
    }
    return sum;
  }

  // One scale tried; `open` are the lanes that may take it.
  template <bool Absolute>
  static PUNA_INLINE void affine_try(const Groups& g, F inverse, F nmax, B open, Affine& s) {
    F l[32];
    F sum_l(0.0f), sum_l2(0.0f), sum_xl(0.0f);
    const F zero(0.0f);
    for (int i = 0; i < g.n; ++i) {
      l[i] = clamped(inverse * (g.x[i] - s.minimum), zero, nmax);
      const F wl = g.w[i] * l[i];
      sum_l = sum_l + wl;
      sum_l2 = sum_l2 + wl * l[i];
      sum_xl = sum_xl + wl * g.x[i];
    }
    const F d = s.sum_w * sum_l2 - sum_l * sum_l;
    F scale = A::div(s.sum_w * sum_xl - s.sum_x * sum_l, d);
    F minimum = A::div(sum_l2 * s.sum_x - sum_l * sum_xl, d);
    const B above = minimum > zero;
    scale = xsimd::select(above, A::div(sum_xl, sum_l2), scale);
    minimum = xsimd::select(above, zero, minimum);
    const F now = affine_error<Absolute>(g, l, scale, minimum);
    const B better = open & (d > zero) & (now < s.best);
    s.inverse = xsimd::select(better, inverse, s.inverse);
    s.offset = xsimd::select(better, s.minimum, s.offset);
    s.best = xsimd::select(better, now, s.best);
    s.scale = xsimd::select(better, scale, s.scale);
    s.minimum = xsimd::select(better, minimum, s.minimum);
  }

  template <bool Absolute>
  static void affine_lanes(const FitTile& t, std::uint32_t first) {
    Groups g;
    load_groups(t, first, g);
    Affine s;
    F lowest = g.x[0], max = g.x[0];
    s.sum_w = g.w[0];
    s.sum_x = s.sum_w * g.x[0];
    for (int i = 1; i < g.n; ++i) {
      lowest = xsimd::select(g.x[i] < lowest, g.x[i], lowest);
      max = xsimd::select(g.x[i] > max, g.x[i], max);
      s.sum_w = s.sum_w + g.w[i];
      s.sum_x = s.sum_x + g.w[i] * g.x[i];
    }
    const F zero(0.0f), nmax(static_cast<float>(t.nmax));
    s.minimum = xsimd::select(lowest > zero, zero, lowest);
    const F minimum_of_flat = s.minimum;
    const B flat = max == s.minimum;
    const B open = max != s.minimum;
    s.inverse = A::div(nmax, max - s.minimum);
    s.offset = s.minimum;
    s.scale = A::div(F(1.0f), s.inverse);
    B exact = within(max, sane_below) & within(lowest, sane_below) & within(s.inverse * (max - s.minimum), exact_below);
    F l[32];
    for (int i = 0; i < g.n; ++i) l[i] = clamped(s.inverse * (g.x[i] - s.minimum), zero, nmax);
    s.best = affine_error<Absolute>(g, l, s.scale, s.minimum);
    for (int k = 0; k <= t.search.steps; ++k) {
      // The minimum is the accepted one: later steps start from it, as the reference does.
      const float span = t.search.rmin + t.search.rdelta * static_cast<float>(k) + static_cast<float>(t.nmax);
      const F inverse = A::div(F(span), max - s.minimum);
      exact = exact & within(inverse * (max - s.minimum), exact_below) &
              within(inverse * (lowest - s.minimum), exact_below);
      affine_try<Absolute>(g, inverse, nmax, open, s);
    }
    if (!xsimd::all(exact | flat)) return plainly(reference_encode.affine, t, first);
    store_each(t.scales, xsimd::select(flat, zero, s.scale), first, t);
    store_each(t.minimums, -xsimd::select(flat, minimum_of_flat, s.minimum), first, t);
    code_groups(t, first, xsimd::select(flat, zero, s.inverse), s.offset, 0, t.nmax);
  }

  static void affine(const FitTile& t) {
    for (std::uint32_t first = 0; first < t.groups; first += R) {
      if (t.search.absolute) affine_lanes<true>(t, first);
      else affine_lanes<false>(t, first);
    }
  }

  // ---- x ~ scale * (codes - nmax) ----------------------------------------------------------------------------------

  static void symmetric_lanes(const FitTile& t, std::uint32_t first) {
    Groups g;
    load_groups(t, first, g);
    F largest;
    const F max = extreme(g, largest);
    const B small = largest < F(too_small);
    F wx[32];
    for (int i = 0; i < g.n; ++i) wx[i] = g.w[i] * g.x[i];
    const auto nmax = static_cast<float>(t.nmax);
    const F zero(0.0f), low(-nmax), high(nmax - 1);
    F scale = zero, best = zero, chosen = zero;
    for (int attempt = 0; attempt < 19; ++attempt) {
      // The plain scale first, then -9 .. 9 tenths beside it.
      const int k = attempt == 0 ? 0 : attempt <= 9 ? attempt - 10 : attempt - 9;
      const F inverse = A::div(F(-(nmax + 0.1f * static_cast<float>(k))), max);
      F sum_lx = zero, sum_l2 = zero;
      for (int i = 0; i < g.n; ++i) {
        const F l = clamped(inverse * g.x[i], low, high);
        sum_lx = sum_lx + wx[i] * l;
        sum_l2 = sum_l2 + g.w[i] * l * l;
      }
      const F ratio = A::div(sum_lx, sum_l2);
      if (attempt == 0) {
        scale = xsimd::select(sum_l2 == zero, zero, ratio);
        best = scale * sum_lx;
        chosen = inverse;
        continue;
      }
      const B better = (sum_l2 > zero) & (sum_lx * sum_lx > best * sum_l2);
      scale = xsimd::select(better, ratio, scale);
      best = xsimd::select(better, ratio * sum_lx, best);
      chosen = xsimd::select(better, inverse, chosen);
    }
    if (!xsimd::all(within(largest, sane_below))) return plainly(reference_encode.symmetric, t, first);
    store_each(t.scales, xsimd::select(small, zero, scale), first, t);
    code_groups(t, first, chosen, zero, -t.nmax, t.nmax - 1);
    if (xsimd::any(small)) clear_codes(t, first, largest);
  }

  // Groups that are as good as zero have code 0, not the one that stands for 0.
  static void clear_codes(const FitTile& t, std::uint32_t first, F largest) {
    alignas(64) float most[R];
    largest.store_aligned(most);
    for (std::uint32_t r = 0; r < R && first + r < t.groups; ++r)
      if (most[r] < too_small) std::memset(t.codes + std::size_t{first + r} * t.n, 0, t.n);
  }

  static void symmetric(const FitTile& t) {
    for (std::uint32_t first = 0; first < t.groups; first += R) symmetric_lanes(t, first);
  }

  // The same, one code after the other moved to where it fits best; weights x^2.
  struct Descent {
    F l[32];
    F sum_lx, sum_l2;
    B exact;
  };

  static PUNA_INLINE B descent_round(const Groups& g, F low, F high, Descent& s) {
    const F zero(0.0f);
    B changed = zero != zero;
    for (int i = 0; i < g.n; ++i) {
      const F wx = g.w[i] * g.x[i];
      F lx = s.sum_lx - wx * s.l[i];
      F l2 = s.sum_l2 - g.w[i] * s.l[i] * s.l[i];
      const B usable = lx > zero;
      const F v = A::div(g.x[i] * l2, lx);
      s.exact = s.exact & (within(v, exact_below) | (lx <= zero));
      const F candidate = clamped(v, low, high);
      lx = lx + wx * candidate;
      l2 = l2 + g.w[i] * candidate * candidate;
      const B take = usable & (candidate != s.l[i]) & (l2 > zero) & (lx * lx * s.sum_l2 > s.sum_lx * s.sum_lx * l2);
      s.l[i] = xsimd::select(take, candidate, s.l[i]);
      s.sum_lx = xsimd::select(take, lx, s.sum_lx);
      s.sum_l2 = xsimd::select(take, l2, s.sum_l2);
      changed = changed | take;
    }
    return changed;
  }

  static void descent_lanes(const FitTile& t, std::uint32_t first) {
    Groups g;
    load_groups(t, first, g);
    F largest;
    const F max = extreme(g, largest);
    const B small = largest < F(too_small);
    const auto nmax = static_cast<float>(t.nmax);
    const F zero(0.0f), low(-nmax), high(nmax - 1);
    const F inverse = A::div(low, max);
    Descent s;
    s.sum_lx = s.sum_l2 = zero;
    s.exact = within(largest, sane_below);
    for (int i = 0; i < g.n; ++i) {
      s.l[i] = clamped(inverse * g.x[i], low, high);
      s.sum_lx = s.sum_lx + g.w[i] * g.x[i] * s.l[i];
      s.sum_l2 = s.sum_l2 + g.w[i] * s.l[i] * s.l[i];
    }
    for (int round = 0; round < 5; ++round)
      if (!xsimd::any(descent_round(g, low, high, s))) break;
    if (!xsimd::all(s.exact | small)) return plainly(reference_encode.descent, t, first);
    const F scale = xsimd::select(s.sum_l2 > zero, A::div(s.sum_lx, s.sum_l2), zero);
    store_each(t.scales, xsimd::select(small, zero, scale), first, t);
    alignas(64) std::int32_t codes[32 * R];
    for (int i = 0; i < g.n; ++i)
      xsimd::to_int(xsimd::select(small, zero, s.l[i] - low)).store_aligned(codes + static_cast<std::uint32_t>(i) * R);
    for (std::uint32_t r = 0; r < R && first + r < t.groups; ++r)
      for (std::uint32_t i = 0; i < t.n; ++i) t.codes[std::size_t{first + r} * t.n + i] =
          static_cast<std::uint8_t>(codes[i * R + r]);
  }

  static void descent(const FitTile& t) {
    FitTile squares = t;
    squares.weigh = Weigh::square;
    for (std::uint32_t first = 0; first < t.groups; first += R) descent_lanes(squares, first);
  }

  // ---- the 16 levels of IQ4 ----------------------------------------------------------------------------------------

  static constexpr float level(int i) { return static_cast<float>(iq4_levels[i]); }
  // From here on level i is nearer. Differences of such numbers are exact, so this is the plain loops' comparison.
  static constexpr float border(int i) { return (level(i - 1) + level(i)) / 2; }

  static PUNA_INLINE F nearest_level(F x) {
    F value(level(0));
    for (int i = 1; i < 16; ++i) value = xsimd::select(x >= F(border(i)), F(level(i)), value);
    return value;
  }

  static void levels_lanes(const FitTile& t, std::uint32_t first) {
    Groups g;
    load_groups(t, first, g);
    F largest;
    const F max = extreme(g, largest);
    const F zero(0.0f);
    F scale = zero, best = zero;
    for (int k = -8; k <= 7; ++k) {
      // -8 stands for the first guess, which is taken as it is.
      const F inverse = k == -8 ? A::div(F(1.0f), A::div(-max,
                                                         F(level(0)))) : A::div(F(static_cast<float>(k) + level(0)),
                                                                                max);
      F sum_qx = zero, sum_q2 = zero;
      for (int i = 0; i < g.n; ++i) {
        const F q = nearest_level(inverse * g.x[i]);
        const F wq = g.w[i] * q;
        sum_qx = sum_qx + wq * g.x[i];
        sum_q2 = sum_q2 + wq * q;
      }
      const F ratio = A::div(sum_qx, sum_q2);
      if (k == -8) {
        scale = ratio;
        best = scale * sum_qx;
        continue;
      }
      const B better = (sum_q2 > zero) & (sum_qx * sum_qx > best * sum_q2);
      scale = xsimd::select(better, ratio, scale);
      best = xsimd::select(better, ratio * sum_qx, best);
    }
    store_each(t.scales, xsimd::select(largest < F(too_small), zero, scale), first, t);
  }

  static void levels(const FitTile& t) {
    for (std::uint32_t first = 0; first < t.groups; first += R) levels_lanes(t, first);
  }

  static void level_codes(const float* x, std::uint32_t groups, const float* inverses, std::uint8_t* codes) {
    for (std::uint32_t g = 0; g < groups; ++g, x += 32, codes += 32) {
      alignas(64) std::int32_t whole[32];
      for (std::uint32_t i = 0; i < 32; i += R) {
        const F v = F(inverses[g]) * F::load_unaligned(x + i);
        F code(0.0f);
        for (int k = 1; k < 16; ++k) code = xsimd::select(v >= F(border(k)), F(static_cast<float>(k)), code);
        xsimd::to_int(code).store_aligned(whole + i);
      }
      for (int i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(whole[i]);
    }
  }

  // ---- settled scales ----------------------------------------------------------------------------------------------

  static void round(const RoundTile& t) {
    for (std::uint32_t g = 0; g < t.groups; ++g) {
      const float d = t.d[g], m = t.m ? t.m[g] : 0.0f;
      const std::size_t at = std::size_t{g} * t.n;
      if (d == 0.0f || code_group<true>(t.x + at, t.n, d, -m, t.low, t.high, t.codes + at)) continue;
      reference_encode.round({1, t.n, t.x + at, &d, &m, t.low, t.high, t.codes + at});
    }
  }

  static PUNA_INLINE float largest32(const float* x) {
    F largest(0.0f);
    for (std::uint32_t i = 0; i < 32; i += R) largest = xsimd::max(largest, xsimd::abs(F::load_unaligned(x + i)));
    alignas(64) float lanes[R];
    largest.store_aligned(lanes);
    float most = lanes[0];
    for (std::uint32_t i = 1; i < R; ++i) most = lanes[i] > most ? lanes[i] : most;
    return most;
  }

  // To the nearest, halves away from zero.
  static PUNA_INLINE F round_away(F v) {
    const F whole = xsimd::to_float(xsimd::to_int(v));
    const F one = xsimd::select(v < F(0.0f), F(-1.0f), F(1.0f));
    return whole + xsimd::select(xsimd::abs(v - whole) >= F(0.5f), one, F(0.0f));
  }

  static void q8_0(const float* x, std::size_t n, std::byte* out) {
    for (std::size_t at = 0; at < n; at += 32, out += sizeof(BlockQ8_0)) {
      const float d = largest32(x + at) / 127.0f;
      const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
      if (!(inverse < 3e38f && d < 3e38f)) {  // too small to be inverted, or no number
        reference_encode.q8_0(x + at, 32, out);
        continue;
      }
      BlockQ8_0 y;
      Half halves[R];
      A::store_half(halves, F(d));
      y.d.bits = halves[0].bits;
      alignas(64) std::int32_t whole[32];
      for (std::uint32_t i = 0; i < 32; i += R)
        xsimd::to_int(round_away(F::load_unaligned(x + at + i) * F(inverse))).store_aligned(whole + i);
      for (int i = 0; i < 32; ++i) y.qs[i] = static_cast<std::int8_t>(whole[i]);
      std::memcpy(out, &y, sizeof y);
    }
  }

  static constexpr EncodeKernels table{affine, symmetric, descent, levels, round, level_codes, q8_0};
};

}  // namespace
}  // namespace puna
