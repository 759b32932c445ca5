// Q2_K to Q6_K: rules of ggml-quants.c.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/encode.hpp"
#include "tensor/fit.hpp"

namespace puna {
namespace {

constexpr AffineSearch importance_search{-0.9f, 0.05f, 36, false};

float sum_squares(const float* x, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

// Weights of a sub-block; returns their sum.
float weigh(const float* x, const float* importance, float sigma2, int n, float* w) {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) {
    w[i] = importance[i] * std::sqrt(sigma2 + x[i] * x[i]);
    sum += w[i];
  }
  return sum;
}

float average_weights(const float* x, int n, float* w) {
  const float average = std::sqrt(sum_squares(x, n) / static_cast<float>(n));
  for (int i = 0; i < n; ++i) w[i] = average + std::fabs(x[i]);
  return 0.0f;
}

// Scales and minimums of a superblock's sub-blocks as small codes under two fp16 factors.
struct SuperScales {
  Half d, dmin;
  std::uint8_t scale[16], minimum[16];
};

// Each factor spans the largest of its own; codes are rounded.
void spread(const float* values, int n, int nmax, std::uint8_t* codes, Half& d) {
  float max = 0.0f;
  for (int i = 0; i < n; ++i) max = std::max(max, values[i]);
  const float inverse = max > 0.0f ? static_cast<float>(nmax) / max : 0.0f;
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(std::min(nmax, nearest(inverse * values[i])));
  d = to_half(max > 0.0f ? max / static_cast<float>(nmax) : 0.0f);
}

// The common way of Q2_K, Q4_K and Q5_K: fit sub-blocks, code their scales, round again with what was coded.
template <int Blocks, int Codes, int Scales>
SuperScales fit_super(const float* x, const float* importance, const AffineSearch& search, bool absolute_weights, float sigma2,
                      std::uint8_t* codes) {
  constexpr int n = 256 / Blocks;
  float scales[Blocks], minimums[Blocks], weight_sums[Blocks];
  SuperScales s{};
  for (int b = 0; b < Blocks; ++b) {
    const float* xb = x + n * b;
    float w[n];
    if (importance)
      weight_sums[b] = weigh(xb, importance + n * b, sigma2, n, w);
    else if (absolute_weights)
      for (int i = 0; i < n; ++i) w[i] = std::fabs(xb[i]);
    else
      average_weights(xb, n, w);
    scales[b] = fit_affine(n, Codes, xb, w, codes + n * b, &minimums[b], importance ? importance_search : search);
  }
  if (importance) {
    s.d = to_half(fit_positive(Blocks, Scales, scales, s.scale, weight_sums));
    s.dmin = to_half(fit_positive(Blocks, Scales, minimums, s.minimum, weight_sums));
  } else {
    spread(scales, Blocks, Scales, s.scale, s.d);
    spread(minimums, Blocks, Scales, s.minimum, s.dmin);
  }
  for (int b = 0; b < Blocks; ++b) {
    const float d = to_float(s.d) * static_cast<float>(s.scale[b]);
    if (d == 0.0f) continue;  // the fitted codes stay
    const float m = to_float(s.dmin) * static_cast<float>(s.minimum[b]);
    for (int i = n * b; i < n * (b + 1); ++i) codes[i] = static_cast<std::uint8_t>(std::clamp(nearest((x[i] + m) / d), 0, Codes));
  }
  return s;
}

// Eight 6-bit scales and minimums in 12 bytes.
void pack_six_bits(const SuperScales& s, std::uint8_t* out) {
  std::memset(out, 0, 12);
  for (int j = 0; j < 8; ++j) {
    const unsigned scale = s.scale[j], minimum = s.minimum[j];
    if (j < 4) {
      out[j] = static_cast<std::uint8_t>(scale);
      out[j + 4] = static_cast<std::uint8_t>(minimum);
    } else {
      out[j + 4] = static_cast<std::uint8_t>((scale & 15) | (minimum & 15) << 4);
      out[j - 4] = static_cast<std::uint8_t>(out[j - 4] | (scale >> 4) << 6);
      out[j] = static_cast<std::uint8_t>(out[j] | (minimum >> 4) << 6);
    }
  }
}

// 64 codes to 32 bytes, four times: low nibbles the first 32, high ones the next.
void pack_k_nibbles(const std::uint8_t* codes, std::uint8_t* qs) {
  for (int g = 0; g < 4; ++g)
    for (int i = 0; i < 32; ++i) qs[32 * g + i] = static_cast<std::uint8_t>((codes[64 * g + i] & 15) | (codes[64 * g + 32 + i] & 15) << 4);
}

// Two bits of each code: byte 32h + i holds elements 128h + i + {0, 32, 64, 96}.
void pack_pairs(const std::uint8_t* codes, std::uint8_t* qs) {
  for (int h = 0; h < 2; ++h)
    for (int i = 0; i < 32; ++i) {
      unsigned bits = 0;
      for (int k = 0; k < 4; ++k) bits |= (codes[128 * h + i + 32 * k] & 3u) << (2 * k);
      qs[32 * h + i] = static_cast<std::uint8_t>(bits);
    }
}

// Codes again, with the scale that was really stored; a zero scale keeps what the fit gave.
void requantize(const float* x, float d, int n, int nmax, std::uint8_t* codes) {
  if (d == 0.0f) return;
  for (int i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(nmax + std::clamp(nearest(x[i] / d), -nmax, nmax - 1));
}

float signed_largest(const float* values, int n) {
  float largest = 0.0f, value = 0.0f;
  for (int i = 0; i < n; ++i)
    if (std::fabs(values[i]) > largest) largest = std::fabs(values[i]), value = values[i];
  return value;
}

}  // namespace

void encode(const float* x, const float* importance, float, BlockQ2K& y) {
  std::uint8_t codes[256];
  const float sigma2 = sum_squares(x, 256) / 256.0f;
  const SuperScales s = fit_super<16, 3, 15>(x, importance, {-0.5f, 0.1f, 15, true}, true, sigma2, codes);
  y.d = s.d, y.dmin = s.dmin;
  for (int j = 0; j < 16; ++j) y.scales[j] = static_cast<std::uint8_t>(s.scale[j] | s.minimum[j] << 4);
  pack_pairs(codes, y.qs);
}

void encode(const float* x, const float* importance, float, BlockQ4K& y) {
  std::uint8_t codes[256];
  const float sigma2 = 2.0f * sum_squares(x, 256) / 256.0f;
  const SuperScales s = fit_super<8, 15, 63>(x, importance, {-1.0f, 0.1f, 20, false}, false, sigma2, codes);
  y.d = s.d, y.dmin = s.dmin;
  pack_six_bits(s, y.scales);
  pack_k_nibbles(codes, y.qs);
}

void encode(const float* x, const float* importance, float, BlockQ5K& y) {
  std::uint8_t codes[256];
  const float sigma2 = 2.0f * sum_squares(x, 256) / 256.0f;
  const SuperScales s = fit_super<8, 31, 63>(x, importance, {-0.5f, 0.1f, 15, false}, false, sigma2, codes);
  y.d = s.d, y.dmin = s.dmin;
  pack_six_bits(s, y.scales);
  pack_k_nibbles(codes, y.qs);
  std::memset(y.qh, 0, sizeof y.qh);
  for (int e = 0; e < 256; ++e) y.qh[e % 32] = static_cast<std::uint8_t>(y.qh[e % 32] | (codes[e] >> 4 & 1) << (e / 32));
}

void encode(const float* x, const float* importance, float, BlockQ3K& y) {
  std::uint8_t codes[256], scale_codes[16];
  float scales[16], weight_sums[16];
  const float sigma2 = 2.0f * sum_squares(x, 256) / 256.0f;
  for (int b = 0; b < 16; ++b) {
    float w[16];
    if (importance) {
      weight_sums[b] = weigh(x + 16 * b, importance + 16 * b, sigma2, 16, w);
      scales[b] = fit_symmetric(16, 4, x + 16 * b, codes + 16 * b, w);
    } else {
      scales[b] = fit_symmetric_descent(16, 4, x + 16 * b, codes + 16 * b);
    }
  }
  std::memset(scale_codes, 0, sizeof scale_codes);
  if (importance) {
    y.d = to_half(fit_symmetric(16, 32, scales, scale_codes, weight_sums));
  } else if (const float max = signed_largest(scales, 16); max != 0.0f) {
    const float inverse = -32.0f / max;
    for (int b = 0; b < 16; ++b) scale_codes[b] = static_cast<std::uint8_t>(std::clamp(nearest(inverse * scales[b]), -32, 31) + 32);
    y.d = to_half(1.0f / inverse);
  } else {
    y.d = to_half(0.0f);
  }
  std::memset(y.scales, 0, sizeof y.scales);
  for (int j = 0; j < 16; ++j) {
    const unsigned code = scale_codes[j];
    y.scales[j % 8] = static_cast<std::uint8_t>(y.scales[j % 8] | (code & 15u) << (j < 8 ? 0 : 4));
    y.scales[8 + j % 4] = static_cast<std::uint8_t>(y.scales[8 + j % 4] | (code >> 4) << (2 * (j / 4)));
  }
  for (int b = 0; b < 16; ++b)
    requantize(x + 16 * b, to_float(y.d) * static_cast<float>(static_cast<int>(scale_codes[b]) - 32), 16, 4, codes + 16 * b);
  // The third bit goes to hmask.
  std::memset(y.hmask, 0, sizeof y.hmask);
  for (int e = 0; e < 256; ++e) y.hmask[e % 32] = static_cast<std::uint8_t>(y.hmask[e % 32] | (codes[e] >> 2 & 1) << (e / 32));
  pack_pairs(codes, y.qs);
}

void encode(const float* x, const float* importance, float, BlockQ6K& y) {
  std::uint8_t codes[256];
  float scales[16];
  for (int b = 0; b < 16; ++b)
    scales[b] = fit_symmetric(16, 32, x + 16 * b, codes + 16 * b, importance ? importance + 16 * b : nullptr);
  const float max = signed_largest(scales, 16);
  if (std::fabs(max) < 1e-15f) {
    std::memset(static_cast<void*>(&y), 0, sizeof y);
    return;
  }
  const float inverse = -128.0f / max;
  y.d = to_half(1.0f / inverse);
  for (int b = 0; b < 16; ++b) {
    y.scales[b] = static_cast<std::int8_t>(std::min(127, nearest(inverse * scales[b])));
    requantize(x + 16 * b, to_float(y.d) * static_cast<float>(y.scales[b]), 16, 32, codes + 16 * b);
  }
  for (int h = 0; h < 2; ++h)
    for (int i = 0; i < 32; ++i) {
      const std::uint8_t* c = codes + 128 * h + i;
      y.ql[64 * h + i] = static_cast<std::uint8_t>((c[0] & 15) | (c[64] & 15) << 4);
      y.ql[64 * h + 32 + i] = static_cast<std::uint8_t>((c[32] & 15) | (c[96] & 15) << 4);
      y.qh[32 * h + i] = static_cast<std::uint8_t>(c[0] >> 4 | (c[32] >> 4) << 2 | (c[64] >> 4) << 4 | (c[96] >> 4) << 6);
    }
}

}  // namespace puna
