#include "tensor/fit.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "puna/tensor/blocks.hpp"

namespace puna {
namespace {

constexpr float too_small = 1e-15f;  // a group this close to zero is all zeros
constexpr int most = 32;             // elements in a group

// The element that is largest by absolute value, with its sign; the first of equals.
float extreme(int n, const float* x) {
  float largest = 0.0f, value = 0.0f;
  for (int i = 0; i < n; ++i) {
    const float a = std::fabs(x[i]);
    if (a > largest) largest = a, value = x[i];
  }
  return value;
}

int clamped(float x, int low, int high) { return std::clamp(nearest(x), low, high); }

}  // namespace

float fit_symmetric(int n, int nmax, const float* x, std::uint8_t* codes, const float* weights) {
  const float max = extreme(n, x);
  if (std::fabs(max) < too_small) {
    std::memset(codes, 0, static_cast<std::size_t>(n));
    return 0.0f;
  }
  float w[most];
  for (int i = 0; i < n; ++i) w[i] = weights ? weights[i] : x[i] * x[i];
  float scale = 0.0f, best = 0.0f, chosen = 0.0f;
  for (int attempt = 0; attempt < 19; ++attempt) {
    // The plain scale first, then -9 .. 9 tenths beside it.
    const int k = attempt == 0 ? 0 : attempt <= 9 ? attempt - 10 : attempt - 9;
    const float inverse = attempt == 0 ? -static_cast<float>(nmax) / max : -(static_cast<float>(nmax) + 0.1f * static_cast<float>(k)) / max;
    float sum_lx = 0.0f, sum_l2 = 0.0f;
    for (int i = 0; i < n; ++i) {
      const auto l = static_cast<float>(clamped(inverse * x[i], -nmax, nmax - 1));
      sum_lx += w[i] * x[i] * l;
      sum_l2 += w[i] * l * l;
    }
    const bool better = attempt == 0 || (sum_l2 > 0.0f && sum_lx * sum_lx > best * sum_l2);
    if (!better) continue;
    scale = sum_l2 != 0.0f ? sum_lx / sum_l2 : 0.0f;
    best = scale * sum_lx;
    chosen = inverse;
  }
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(nmax + clamped(chosen * x[i], -nmax, nmax - 1));
  return scale;
}

float fit_symmetric_descent(int n, int nmax, const float* x, std::uint8_t* codes) {
  const float max = extreme(n, x);
  if (std::fabs(max) < too_small) {
    std::memset(codes, 0, static_cast<std::size_t>(n));
    return 0.0f;
  }
  const float inverse = -static_cast<float>(nmax) / max;
  float l[most];
  float sum_lx = 0.0f, sum_l2 = 0.0f;
  for (int i = 0; i < n; ++i) {
    l[i] = static_cast<float>(clamped(inverse * x[i], -nmax, nmax - 1));
    const float w = x[i] * x[i];
    sum_lx += w * x[i] * l[i];
    sum_l2 += w * l[i] * l[i];
  }
  for (int round = 0; round < 5; ++round) {
    bool changed = false;
    for (int i = 0; i < n; ++i) {
      const float w = x[i] * x[i];
      float lx = sum_lx - w * x[i] * l[i];
      if (!(lx > 0.0f)) continue;
      float l2 = sum_l2 - w * l[i] * l[i];
      const auto candidate = static_cast<float>(clamped(x[i] * l2 / lx, -nmax, nmax - 1));
      if (candidate == l[i]) continue;
      lx += w * x[i] * candidate;
      l2 += w * candidate * candidate;
      if (l2 > 0.0f && lx * lx * sum_l2 > sum_lx * sum_lx * l2) {
        l[i] = candidate;
        sum_lx = lx;
        sum_l2 = l2;
        changed = true;
      }
    }
    if (!changed) break;
  }
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(nmax + static_cast<int>(l[i]));
  return sum_l2 > 0.0f ? sum_lx / sum_l2 : 0.0f;
}

float fit_affine(int n, int nmax, const float* x, const float* w, std::uint8_t* codes, float* minimum,
                 const AffineSearch& search) {
  float min = x[0], max = x[0];
  float sum_w = w[0], sum_x = sum_w * x[0];
  for (int i = 1; i < n; ++i) {
    if (x[i] < min) min = x[i];
    if (x[i] > max) max = x[i];
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (min > 0.0f) min = 0.0f;
  if (max == min) {
    std::memset(codes, 0, static_cast<std::size_t>(n));
    *minimum = -min;
    return 0.0f;
  }
  const auto fnmax = static_cast<float>(nmax);
  std::uint8_t tried[most];
  const auto error = [&](float scale, float offset, const std::uint8_t* l) {
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) {
      float difference = scale * static_cast<float>(l[i]) + offset - x[i];
      difference = search.absolute ? std::fabs(difference) : difference * difference;
      sum += w[i] * difference;
    }
    return sum;
  };
  float inverse = fnmax / (max - min);
  float scale = 1.0f / inverse;
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(clamped(inverse * (x[i] - min), 0, nmax));
  float best = error(scale, min, codes);
  for (int k = 0; k <= search.steps; ++k) {
    // `min` is the accepted one: later steps start from it, as the reference does.
    inverse = (search.rmin + search.rdelta * static_cast<float>(k) + fnmax) / (max - min);
    float sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
    for (int i = 0; i < n; ++i) {
      const int l = clamped(inverse * (x[i] - min), 0, nmax);
      tried[i] = static_cast<std::uint8_t>(l);
      const auto fl = static_cast<float>(l);
      sum_l += w[i] * fl;
      sum_l2 += w[i] * fl * fl;
      sum_xl += w[i] * fl * x[i];
    }
    const float d = sum_w * sum_l2 - sum_l * sum_l;
    if (!(d > 0.0f)) continue;
    float this_scale = (sum_w * sum_xl - sum_x * sum_l) / d;
    float this_min = (sum_l2 * sum_x - sum_l * sum_xl) / d;
    if (this_min > 0.0f) {
      this_min = 0.0f;
      this_scale = sum_xl / sum_l2;
    }
    const float now = error(this_scale, this_min, tried);
    if (now < best) {
      std::memcpy(codes, tried, static_cast<std::size_t>(n));
      best = now;
      scale = this_scale;
      min = this_min;
    }
  }
  *minimum = -min;
  return scale;
}

float fit_positive(int n, int nmax, const float* x, std::uint8_t* codes, const float* w) {
  float max = 0.0f;
  for (int i = 0; i < n; ++i) max = std::max(max, x[i]);
  if (!(max >= too_small)) {
    std::memset(codes, 0, static_cast<std::size_t>(n));
    return 0.0f;
  }
  const auto fnmax = static_cast<float>(nmax);
  const auto error = [&](float inverse, bool bounded) {
    const float scale = 1.0f / inverse;
    float sum = 0.0f;
    for (int i = 0; i < n; ++i) {
      int l = nearest(inverse * x[i]);
      if (bounded) l = std::min(nmax, l);
      const float difference = x[i] - scale * static_cast<float>(l);
      sum += w[i] * difference * difference;
    }
    return sum;
  };
  float inverse = fnmax / max;
  float best = error(inverse, false);
  for (int k = -4; k <= 4; ++k) {
    if (k == 0) continue;
    const float candidate = (0.1f * static_cast<float>(k) + fnmax) / max;
    const float now = error(candidate, true);
    if (now < best) best = now, inverse = candidate;
  }
  float sum_lx = 0.0f, sum_l2 = 0.0f;
  int l[most];
  for (int i = 0; i < n; ++i) {
    l[i] = std::min(nmax, nearest(inverse * x[i]));
    const auto fl = static_cast<float>(l[i]);
    sum_lx += w[i] * x[i] * fl;
    sum_l2 += w[i] * fl * fl;
  }
  for (int round = 0; round < 5; ++round) {
    bool changed = false;
    for (int i = 0; i < n; ++i) {
      const auto old = static_cast<float>(l[i]);
      float lx = sum_lx - w[i] * x[i] * old;
      float l2 = sum_l2 - w[i] * old * old;
      if (!(lx > 0.0f && l2 > 0.0f)) continue;
      const int candidate = std::min(nmax, nearest(x[i] * l2 / lx));
      if (candidate == l[i]) continue;
      const auto fl = static_cast<float>(candidate);
      lx += w[i] * x[i] * fl;
      l2 += w[i] * fl * fl;
      if (lx * lx * sum_l2 > sum_lx * sum_lx * l2) {
        l[i] = candidate;
        sum_lx = lx;
        sum_l2 = l2;
        changed = true;
      }
    }
    if (!changed) break;
  }
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(l[i]);
  return sum_l2 > 0.0f ? sum_lx / sum_l2 : 0.0f;
}

int nearest_level(float x) {
  if (!(x > iq4_levels[0])) return 0;
  if (x >= iq4_levels[15]) return 15;
  int low = 0, high = 15;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (x < iq4_levels[middle] ? high : low) = middle;
  }
  return x - iq4_levels[high - 1] < iq4_levels[high] - x ? high - 1 : high;
}

float fit_levels(const float* x, const float* w) {
  const float max = extreme(32, x);
  if (std::fabs(max) < too_small) return 0.0f;
  float scale = 0.0f, best = 0.0f;
  for (int k = -8; k <= 7; ++k) {
    // -8 stands for the first guess, which is taken as it is.
    const bool first = k == -8;
    const auto lowest = static_cast<float>(iq4_levels[0]);
    const float inverse = first ? 1.0f / (-max / lowest) : (static_cast<float>(k) + lowest) / max;
    float sum_qx = 0.0f, sum_q2 = 0.0f;
    for (int i = 0; i < 32; ++i) {
      const float q = iq4_levels[nearest_level(inverse * x[i])];
      sum_qx += w[i] * q * x[i];
      sum_q2 += w[i] * q * q;
    }
    if (first || (sum_q2 > 0.0f && sum_qx * sum_qx > best * sum_q2)) {
      scale = sum_qx / sum_q2;
      best = scale * sum_qx;
    }
  }
  return scale;
}

// ---- all groups of a tile, one after the other ---------------------------------------------------------------------

namespace {

// Weights of group g; returns their sum.
float weigh(const FitTile& t, std::uint32_t g, float* w) {
  const int n = static_cast<int>(t.n);
  const float* x = t.x + g * t.n;
  const float* importance = t.importance ? t.importance + g * t.n : nullptr;
  float average = 0.0f, sum = 0.0f;
  if (t.weigh == Weigh::average) {
    for (int i = 0; i < n; ++i) average += x[i] * x[i];
    average = std::sqrt(average / static_cast<float>(n));
  }
  for (int i = 0; i < n; ++i) {
    switch (t.weigh) {
      case Weigh::square: w[i] = x[i] * x[i]; break;
      case Weigh::absolute: w[i] = std::fabs(x[i]); break;
      case Weigh::average: w[i] = average + std::fabs(x[i]); break;
      case Weigh::importance: w[i] = importance[i] * std::sqrt(t.variance[g] + x[i] * x[i]); break;
      case Weigh::given: w[i] = importance[i]; break;
    }
    sum += w[i];
  }
  return sum;
}

template <class Fit>
void over_groups(const FitTile& t, const Fit& fit) {
  for (std::uint32_t g = 0; g < t.groups; ++g) {
    float w[most];
    const float sum = weigh(t, g, w);
    if (t.weight_sums) t.weight_sums[g] = sum;
    t.scales[g] = fit(g, t.x + g * t.n, w);
  }
}

void affine(const FitTile& t) {
  over_groups(t, [&](std::uint32_t g, const float* x, const float* w) {
    return fit_affine(static_cast<int>(t.n), t.nmax, x, w, t.codes + g * t.n, t.minimums + g, t.search);
  });
}

void symmetric(const FitTile& t) {
  over_groups(t, [&](std::uint32_t g, const float* x, const float* w) {
    return fit_symmetric(static_cast<int>(t.n), t.nmax, x, t.codes + g * t.n, w);
  });
}

void descent(const FitTile& t) {
  for (std::uint32_t g = 0; g < t.groups; ++g)
    t.scales[g] = fit_symmetric_descent(static_cast<int>(t.n), t.nmax, t.x + g * t.n, t.codes + g * t.n);
}

void levels(const FitTile& t) {
  over_groups(t, [&](std::uint32_t, const float* x, const float* w) { return fit_levels(x, w); });
}

void round_groups(const RoundTile& t) {
  for (std::uint32_t g = 0; g < t.groups; ++g) {
    const float d = t.d[g], m = t.m ? t.m[g] : 0.0f;
    if (d == 0.0f) continue;
    for (std::uint32_t i = g * t.n; i < (g + 1) * t.n; ++i)
      t.codes[i] = static_cast<std::uint8_t>(clamped((t.x[i] + m) / d, t.low, t.high) - t.low);
  }
}

void level_codes(const float* x, std::uint32_t groups, const float* inverses, std::uint8_t* codes) {
  for (std::uint32_t i = 0; i < 32 * groups; ++i)
    codes[i] = static_cast<std::uint8_t>(nearest_level(inverses[i / 32] * x[i]));
}

void q8_0(const float* x, std::size_t n, std::byte* out) {
  for (std::size_t at = 0; at < n; at += 32, out += sizeof(BlockQ8_0)) {
    BlockQ8_0 y;
    const float d = std::fabs(extreme(32, x + at)) / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    y.d = to_half(d);
    for (std::size_t i = 0; i < 32; ++i) y.qs[i] = static_cast<std::int8_t>(std::round(x[at + i] * inverse));
    std::memcpy(out, &y, sizeof y);  // out need not be aligned
  }
}

}  // namespace

const EncodeKernels reference_encode = {affine, symmetric, descent, levels, round_groups, level_codes, q8_0};

}  // namespace puna
