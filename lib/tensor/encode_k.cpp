// Q2_K to Q6_K: rules of ggml-quants.c.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/encode.hpp"
#include "tensor/fit.hpp"

namespace puna {
namespace {

constexpr AffineSearch importance_search{-0.9f, 0.05f, 36, false};

constexpr std::size_t most_blocks = encode_batch / 256;

// What a superblock's weights are made with: factor times its mean square, for each of its groups.
void variances(const EncodePart& p, float factor, std::size_t groups, float* out) {
  for (std::size_t at = 0; p.importance && at < p.n; at += 256, out += groups) {
    float sum = 0.0f;
    for (std::size_t i = at; i < at + 256; ++i) sum += p.x[i] * p.x[i];
    for (std::size_t g = 0; g < groups; ++g) out[g] = factor * sum / 256.0f;
  }
}

template <class Block>
void put(const EncodePart& p, std::size_t index, const Block& y) {
  std::memcpy(p.out + index * sizeof y, &y, sizeof y);
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

// The common way of Q2_K, Q4_K and Q5_K: fit the groups, code their scales, round again with what was coded.
template <std::size_t Groups, int Codes, int Scales>
void fit_super(const EncodePart& p, const AffineSearch& search, Weigh weigh, float factor, SuperScales* supers,
               std::uint8_t* codes) {
  constexpr std::uint32_t n = 256 / Groups;
  const std::size_t blocks = p.n / 256;
  float scales[most_blocks * Groups], minimums[most_blocks * Groups], variance[most_blocks * Groups],
      sums[most_blocks * Groups];
  variances(p, factor, Groups, variance);
  const auto groups = static_cast<std::uint32_t>(blocks * Groups);
  p.kernels.affine({groups, n, Codes, p.x, p.importance ? Weigh::importance : weigh, p.importance, variance,
                    p.importance ? importance_search : search, codes, scales, minimums, sums});
  for (std::size_t b = 0; b < blocks; ++b) {
    SuperScales& s = supers[b];
    float* scale = scales + b * Groups;
    float* minimum = minimums + b * Groups;
    if (p.importance) {
      s.d = to_half(fit_positive(Groups, Scales, scale, s.scale, sums + b * Groups));
      s.dmin = to_half(fit_positive(Groups, Scales, minimum, s.minimum, sums + b * Groups));
    } else {
      spread(scale, Groups, Scales, s.scale, s.d);
      spread(minimum, Groups, Scales, s.minimum, s.dmin);
    }
    for (std::size_t g = 0; g < Groups; ++g) {
      scale[g] = to_float(s.d) * static_cast<float>(s.scale[g]);
      minimum[g] = to_float(s.dmin) * static_cast<float>(s.minimum[g]);
    }
  }
  p.kernels.round({groups, n, p.x, scales, minimums, 0, Codes, codes});
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
    for (int i = 0; i < 32; ++i) qs[32 * g + i] = static_cast<std::uint8_t>((codes[64 * g + i] & 15) |
                                                                            (codes[64 * g + 32 + i] & 15) << 4);
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

float signed_largest(const float* values, int n) {
  float largest = 0.0f, value = 0.0f;
  for (int i = 0; i < n; ++i)
    if (std::fabs(values[i]) > largest) largest = std::fabs(values[i]), value = values[i];
  return value;
}

// Bit Bit of every code: byte i holds elements i + {0, 32, .., 224}.
template <int Bit>
void gather_bits(const std::uint8_t* codes, std::uint8_t* out) {
  for (int i = 0; i < 32; ++i) {
    unsigned bits = 0;
    for (int k = 0; k < 8; ++k) bits |= (codes[32 * k + i] >> Bit & 1u) << k;
    out[i] = static_cast<std::uint8_t>(bits);
  }
}

// Q3_K's scales: the largest becomes -32.
Half spread_signed(const float* scales, std::uint8_t* codes) {
  const float max = signed_largest(scales, 16);
  if (max == 0.0f) return to_half(0.0f);
  const float inverse = -32.0f / max;
  for (int g = 0; g < 16; ++g) codes[g] = static_cast<std::uint8_t>(std::clamp(nearest(inverse * scales[g]), -32,
                                                                               31) + 32);
  return to_half(1.0f / inverse);
}

void pack_q3_scales(const std::uint8_t* codes, std::uint8_t (&out)[12]) {
  std::memset(out, 0, sizeof out);
  for (int j = 0; j < 16; ++j) {
    const unsigned code = codes[j];
    out[j % 8] = static_cast<std::uint8_t>(out[j % 8] | (code & 15u) << (j < 8 ? 0 : 4));
    out[8 + j % 4] = static_cast<std::uint8_t>(out[8 + j % 4] | (code >> 4) << (2 * (j / 4)));
  }
}

void pack_q6(const std::uint8_t* codes, BlockQ6K& y) {
  for (int h = 0; h < 2; ++h)
    for (int i = 0; i < 32; ++i) {
      const std::uint8_t* c = codes + 128 * h + i;
      y.ql[64 * h + i] = static_cast<std::uint8_t>((c[0] & 15) | (c[64] & 15) << 4);
      y.ql[64 * h + 32 + i] = static_cast<std::uint8_t>((c[32] & 15) | (c[96] & 15) << 4);
      y.qh[32 * h + i] = static_cast<std::uint8_t>(c[0] >> 4 | (c[32] >> 4) << 2 | (c[64] >> 4) << 4 |
                                                   (c[96] >> 4) << 6);
    }
}

}  // namespace

void encode_q2_k(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  SuperScales supers[most_blocks];
  fit_super<16, 3, 15>(p, {-0.5f, 0.1f, 15, true}, Weigh::absolute, 1.0f, supers, codes);
  for (std::size_t b = 0; b < p.n / 256; ++b) {
    const SuperScales& s = supers[b];
    BlockQ2K y;
    y.d = s.d, y.dmin = s.dmin;
    for (int j = 0; j < 16; ++j) y.scales[j] = static_cast<std::uint8_t>(s.scale[j] | s.minimum[j] << 4);
    pack_pairs(codes + 256 * b, y.qs);
    put(p, b, y);
  }
}

void encode_q4_k(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  SuperScales supers[most_blocks];
  fit_super<8, 15, 63>(p, {-1.0f, 0.1f, 20, false}, Weigh::average, 2.0f, supers, codes);
  for (std::size_t b = 0; b < p.n / 256; ++b) {
    BlockQ4K y;
    y.d = supers[b].d, y.dmin = supers[b].dmin;
    pack_six_bits(supers[b], y.scales);
    pack_k_nibbles(codes + 256 * b, y.qs);
    put(p, b, y);
  }
}

void encode_q5_k(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  SuperScales supers[most_blocks];
  fit_super<8, 31, 63>(p, {-0.5f, 0.1f, 15, false}, Weigh::average, 2.0f, supers, codes);
  for (std::size_t b = 0; b < p.n / 256; ++b) {
    BlockQ5K y;
    y.d = supers[b].d, y.dmin = supers[b].dmin;
    pack_six_bits(supers[b], y.scales);
    pack_k_nibbles(codes + 256 * b, y.qs);
    gather_bits<4>(codes + 256 * b, y.qh);
    put(p, b, y);
  }
}

void encode_q3_k(const EncodePart& p) {
  constexpr std::size_t most_groups = most_blocks * 16;
  std::uint8_t codes[encode_batch], scale_codes[most_groups] = {};
  float scales[most_groups], variance[most_groups], sums[most_groups];
  Half d[most_blocks];
  variances(p, 2.0f, 16, variance);
  const std::size_t blocks = p.n / 256;
  const auto groups = static_cast<std::uint32_t>(16 * blocks);
  (p.importance ? p.kernels.symmetric : p.kernels.descent)({groups, 16, 4, p.x,
                                                            p.importance ? Weigh::importance : Weigh::square,
                                                            p.importance, variance, {}, codes, scales, nullptr, sums});
  for (std::size_t b = 0; b < blocks; ++b) {
    float* scale = scales + 16 * b;
    std::uint8_t* code = scale_codes + 16 * b;
    if (p.importance)
      d[b] = to_half(fit_symmetric(16, 32, scale, code, sums + 16 * b));
    else
      d[b] = spread_signed(scale, code);
    for (int g = 0; g < 16; ++g) scale[g] = to_float(d[b]) * static_cast<float>(static_cast<int>(code[g]) - 32);
  }
  p.kernels.round({groups, 16, p.x, scales, nullptr, -4, 3, codes});
  for (std::size_t b = 0; b < blocks; ++b) {
    BlockQ3K y;
    y.d = d[b];
    pack_q3_scales(scale_codes + 16 * b, y.scales);
    gather_bits<2>(codes + 256 * b, y.hmask);
    pack_pairs(codes + 256 * b, y.qs);
    put(p, b, y);
  }
}

void encode_q6_k(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float scales[most_blocks * 16], sums[most_blocks * 16];
  BlockQ6K ys[most_blocks] = {};
  bool zero[most_blocks];
  const std::size_t blocks = p.n / 256;
  const auto groups = static_cast<std::uint32_t>(16 * blocks);
  p.kernels.symmetric({groups, 16, 32, p.x, p.importance ? Weigh::given : Weigh::square, p.importance, nullptr, {},
                       codes, scales, nullptr, sums});
  for (std::size_t b = 0; b < blocks; ++b) {
    float* scale = scales + 16 * b;
    const float max = signed_largest(scale, 16);
    zero[b] = std::fabs(max) < 1e-15f;
    const float inverse = zero[b] ? 0.0f : -128.0f / max;
    ys[b].d = to_half(zero[b] ? 0.0f : 1.0f / inverse);
    for (int g = 0; g < 16; ++g) {
      ys[b].scales[g] = static_cast<std::int8_t>(std::min(127, nearest(inverse * scale[g])));
      scale[g] = to_float(ys[b].d) * static_cast<float>(ys[b].scales[g]);
    }
  }
  p.kernels.round({groups, 16, p.x, scales, nullptr, -32, 31, codes});
  for (std::size_t b = 0; b < blocks; ++b) {
    if (!zero[b]) pack_q6(codes + 256 * b, ys[b]);
    put(p, b, ys[b]);
  }
}

}  // namespace puna
