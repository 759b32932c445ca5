// Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 and IQ4: rules of ggml-quants.c.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/encode.hpp"
#include "tensor/fit.hpp"

namespace puna {
namespace {

constexpr AffineSearch importance_search{-0.9f, 0.05f, 36, false};

void weigh(const float* x, const float* importance, float mean_square, int n, float* w) {
  for (int i = 0; i < n; ++i) w[i] = importance[i] * std::sqrt(mean_square + x[i] * x[i]);
}

float extreme(const float* x, int n) {
  float largest = 0.0f, value = 0.0f;
  for (int i = 0; i < n; ++i)
    if (std::fabs(x[i]) > largest) largest = std::fabs(x[i]), value = x[i];
  return value;
}

// Low nibbles are the first half of the block, high ones the second; a fifth bit goes to qh.
void pack_nibbles(const std::uint8_t* codes, std::uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<std::uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}
void pack_fifth(const std::uint8_t* codes, std::uint8_t* qh) {
  std::uint32_t bits = 0;
  for (std::uint32_t j = 0; j < 32; ++j) bits |= static_cast<std::uint32_t>(codes[j] >> 4 & 1) << j;
  std::memcpy(qh, &bits, sizeof bits);
}

// Symmetric: the extreme value becomes the lowest code.
Half symmetric(const float* x, const float* importance, float mean_square, int nmax, std::uint8_t* codes) {
  if (importance) {
    float w[32];
    weigh(x, importance, mean_square, 32, w);
    return to_half(fit_symmetric(32, nmax, x, codes, w));
  }
  const float d = extreme(x, 32) / static_cast<float>(-nmax);
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  const float half = static_cast<float>(nmax) + 0.5f;
  for (int i = 0; i < 32; ++i)
    codes[i] = static_cast<std::uint8_t>(std::min(2 * nmax - 1, static_cast<int>(static_cast<std::int8_t>(x[i] * inverse + half))));
  return to_half(d);
}

struct Affine {
  Half d, m;
};
Affine affine(const float* x, const float* importance, float mean_square, int nmax, std::uint8_t* codes) {
  if (importance) {
    float w[32], minimum;
    weigh(x, importance, mean_square, 32, w);
    const float d = fit_affine(32, nmax, x, w, codes, &minimum, importance_search);
    return {to_half(d), to_half(-minimum)};
  }
  const auto [min, max] = std::minmax_element(x, x + 32);
  const float d = (*max - *min) / static_cast<float>(nmax);
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(std::min(nmax, static_cast<int>((x[i] - *min) * inverse + 0.5f)));
  return {to_half(d), to_half(*min)};
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

// A scale for 32 elements on the IQ4 levels; weights importance * sqrt(sigma2 + x^2), or x^2.
float fit_levels(const float* x, const float* importance, float sigma2) {
  const float max = extreme(x, 32);
  if (std::fabs(max) < 1e-15f) return 0.0f;
  float w[32];
  if (importance)
    weigh(x, importance, sigma2, 32, w);
  else
    for (int i = 0; i < 32; ++i) w[i] = x[i] * x[i];
  float scale = 0.0f, best = 0.0f;
  for (int k = -8; k <= 7; ++k) {
    // -8 stands for the first guess, which is taken as it is.
    const bool first = k == -8;
    const float inverse = first ? 1.0f / (-max / static_cast<float>(iq4_levels[0])) : (static_cast<float>(k) + static_cast<float>(iq4_levels[0])) / max;
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

float twice_mean_square(const float* x, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum * 2.0f / static_cast<float>(n);
}

}  // namespace

void encode(const float* x, const float* importance, float mean_square, BlockQ4_0& y) {
  std::uint8_t codes[32];
  y.d = symmetric(x, importance, mean_square, 8, codes);
  pack_nibbles(codes, y.qs);
}

void encode(const float* x, const float* importance, float mean_square, BlockQ4_1& y) {
  std::uint8_t codes[32];
  const Affine a = affine(x, importance, mean_square, 15, codes);
  y.d = a.d, y.m = a.m;
  pack_nibbles(codes, y.qs);
}

void encode(const float* x, const float* importance, float mean_square, BlockQ5_0& y) {
  std::uint8_t codes[32];
  y.d = symmetric(x, importance, mean_square, 16, codes);
  pack_nibbles(codes, y.qs);
  pack_fifth(codes, y.qh);
}

void encode(const float* x, const float* importance, float mean_square, BlockQ5_1& y) {
  std::uint8_t codes[32];
  const Affine a = affine(x, importance, mean_square, 31, codes);
  y.d = a.d, y.m = a.m;
  pack_nibbles(codes, y.qs);
  pack_fifth(codes, y.qh);
}

void encode(const float* x, const float*, float, BlockQ8_0& y) {
  const float d = std::fabs(extreme(x, 32)) / 127.0f;
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  y.d = to_half(d);
  for (int i = 0; i < 32; ++i) y.qs[i] = static_cast<std::int8_t>(std::round(x[i] * inverse));
}

void encode(const float* x, const float* importance, float, BlockIQ4NL& y) {
  const float scale = fit_levels(x, importance, twice_mean_square(x, 32));
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  std::uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(nearest_level(inverse * x[i]));
  y.d = to_half(scale);
  pack_nibbles(codes, y.qs);
}

void encode(const float* x, const float* importance, float, BlockIQ4XS& y) {
  const float sigma2 = twice_mean_square(x, 256);
  float scales[8], max_scale = 0.0f, largest = 0.0f;
  for (int b = 0; b < 8; ++b) {
    scales[b] = fit_levels(x + 32 * b, importance ? importance + 32 * b : nullptr, sigma2);
    if (std::fabs(scales[b]) > largest) largest = std::fabs(scales[b]), max_scale = scales[b];
  }
  const float d = -max_scale / 32.0f;
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  y.d = to_half(d);
  y.scales_h = 0;
  std::memset(y.scales_l, 0, sizeof y.scales_l);
  for (int b = 0; b < 8; ++b) {
    const int l = std::clamp(nearest(inverse * scales[b]), -32, 31);
    const float block_d = d * static_cast<float>(l);
    const float block_inverse = block_d != 0.0f ? 1.0f / block_d : 0.0f;
    std::uint8_t codes[32];
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(nearest_level(block_inverse * x[32 * b + i]));
    pack_nibbles(codes, y.qs + 16 * b);
    const auto code = static_cast<unsigned>(l + 32);
    y.scales_l[b / 2] = static_cast<std::uint8_t>(y.scales_l[b / 2] | (code & 15u) << (4 * (b % 2)));
    y.scales_h = static_cast<std::uint16_t>(y.scales_h | (code >> 4) << (2 * b));
  }
}

}  // namespace puna
