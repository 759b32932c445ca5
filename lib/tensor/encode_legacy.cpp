// Q4_0 Q4_1 Q5_0 Q5_1 and IQ4: rules of ggml-quants.c.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/encode.hpp"
#include "tensor/fit.hpp"

namespace puna {
namespace {

constexpr AffineSearch importance_search{-0.9f, 0.05f, 36, false};

constexpr std::size_t most_groups = encode_batch / 32;

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
void symmetric(const EncodePart& p, int nmax, float* d, std::uint8_t* codes) {
  const std::size_t groups = p.n / 32;
  if (p.importance) {
    float variance[most_groups];
    std::fill_n(variance, groups, p.mean_square);
    return p.kernels.symmetric({static_cast<std::uint32_t>(groups), 32, nmax, p.x, Weigh::importance, p.importance,
                                variance, {}, codes, d, nullptr, nullptr});
  }
  const float half = static_cast<float>(nmax) + 0.5f;
  for (std::size_t g = 0; g < groups; ++g, codes += 32) {
    const float* x = p.x + 32 * g;
    d[g] = extreme(x, 32) / static_cast<float>(-nmax);
    const float inverse = d[g] != 0.0f ? 1.0f / d[g] : 0.0f;
    for (int i = 0; i < 32; ++i)
      codes[i] = static_cast<std::uint8_t>(std::min(2 * nmax - 1,
                                                    static_cast<int>(static_cast<std::int8_t>(x[i] * inverse + half))));
  }
}

void affine(const EncodePart& p, int nmax, float* d, float* m, std::uint8_t* codes) {
  const std::size_t groups = p.n / 32;
  if (p.importance) {
    float variance[most_groups];
    std::fill_n(variance, groups, p.mean_square);
    p.kernels.affine({static_cast<std::uint32_t>(groups), 32, nmax, p.x, Weigh::importance, p.importance, variance,
                      importance_search, codes, d, m, nullptr});
    for (std::size_t g = 0; g < groups; ++g) m[g] = -m[g];
    return;
  }
  for (std::size_t g = 0; g < groups; ++g, codes += 32) {
    const float* x = p.x + 32 * g;
    const auto [min, max] = std::minmax_element(x, x + 32);
    d[g] = (*max - *min) / static_cast<float>(nmax);
    m[g] = *min;
    const float inverse = d[g] != 0.0f ? 1.0f / d[g] : 0.0f;
    for (int i = 0; i < 32; ++i) {
      const int code = static_cast<int>((x[i] - m[g]) * inverse + 0.5f);
      codes[i] = static_cast<std::uint8_t>(std::min(nmax, code));
    }
  }
}

float twice_mean_square(const float* x, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum * 2.0f / static_cast<float>(n);
}

// A scale for each group on the IQ4 levels. block: elements that share a variance.
void level_scales(const EncodePart& p, std::size_t block, float* scales) {
  float variance[most_groups];
  for (std::size_t g = 0; p.importance && g < p.n / 32; ++g)
    variance[g] = g % (block / 32) == 0 ? twice_mean_square(p.x + 32 * g, static_cast<int>(block)) : variance[g - 1];
  p.kernels.levels({static_cast<std::uint32_t>(p.n / 32), 32, 0, p.x,
                    p.importance ? Weigh::importance : Weigh::square, p.importance,
                    variance, {}, nullptr, scales, nullptr, nullptr});
}

template <class Block, class Fill>
void put_blocks(const EncodePart& p, const Fill& fill) {
  for (std::size_t b = 0; b < p.n / 32; ++b) {
    Block y;
    fill(b, y);
    std::memcpy(p.out + b * sizeof y, &y, sizeof y);
  }
}

float inverse_of(float x) { return x != 0.0f ? 1.0f / x : 0.0f; }

// Scales and codes of eight groups as an IQ4_XS superblock.
void fill_iq4_xs(const float* x, const float* scales, const EncodeKernels& kernels, BlockIQ4XS& y) {
  float inverses[8];
  std::uint8_t codes[256];
  const float d = -extreme(scales, 8) / 32.0f;
  const float inverse = inverse_of(d);
  y.d = to_half(d);
  y.scales_h = 0;
  std::memset(y.scales_l, 0, sizeof y.scales_l);
  for (int b = 0; b < 8; ++b) {
    const int l = std::clamp(nearest(inverse * scales[b]), -32, 31);
    inverses[b] = inverse_of(d * static_cast<float>(l));
    const auto code = static_cast<unsigned>(l + 32);
    y.scales_l[b / 2] = static_cast<std::uint8_t>(y.scales_l[b / 2] | (code & 15u) << (4 * (b % 2)));
    y.scales_h = static_cast<std::uint16_t>(y.scales_h | (code >> 4) << (2 * b));
  }
  kernels.level_codes(x, 8, inverses, codes);
  for (int b = 0; b < 8; ++b) pack_nibbles(codes + 32 * b, y.qs + 16 * b);
}

}  // namespace

void encode_q4_0(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float d[most_groups];
  symmetric(p, 8, d, codes);
  put_blocks<BlockQ4_0>(p, [&](std::size_t b, BlockQ4_0& y) {
    y.d = to_half(d[b]);
    pack_nibbles(codes + 32 * b, y.qs);
  });
}

void encode_q4_1(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float d[most_groups], m[most_groups];
  affine(p, 15, d, m, codes);
  put_blocks<BlockQ4_1>(p, [&](std::size_t b, BlockQ4_1& y) {
    y.d = to_half(d[b]), y.m = to_half(m[b]);
    pack_nibbles(codes + 32 * b, y.qs);
  });
}

void encode_q5_0(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float d[most_groups];
  symmetric(p, 16, d, codes);
  put_blocks<BlockQ5_0>(p, [&](std::size_t b, BlockQ5_0& y) {
    y.d = to_half(d[b]);
    pack_nibbles(codes + 32 * b, y.qs);
    pack_fifth(codes + 32 * b, y.qh);
  });
}

void encode_q5_1(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float d[most_groups], m[most_groups];
  affine(p, 31, d, m, codes);
  put_blocks<BlockQ5_1>(p, [&](std::size_t b, BlockQ5_1& y) {
    y.d = to_half(d[b]), y.m = to_half(m[b]);
    pack_nibbles(codes + 32 * b, y.qs);
    pack_fifth(codes + 32 * b, y.qh);
  });
}

void encode_iq4_nl(const EncodePart& p) {
  std::uint8_t codes[encode_batch];
  float scales[most_groups], inverses[most_groups];
  level_scales(p, 32, scales);
  for (std::size_t b = 0; b < p.n / 32; ++b) inverses[b] = inverse_of(scales[b]);
  p.kernels.level_codes(p.x, static_cast<std::uint32_t>(p.n / 32), inverses, codes);
  put_blocks<BlockIQ4NL>(p, [&](std::size_t b, BlockIQ4NL& y) {
    y.d = to_half(scales[b]);
    pack_nibbles(codes + 32 * b, y.qs);
  });
}

void encode_iq4_xs(const EncodePart& p) {
  float scales[most_groups];
  level_scales(p, 256, scales);
  for (std::size_t b = 0; b < p.n / 256; ++b) {
    BlockIQ4XS y;
    fill_iq4_xs(p.x + 256 * b, scales + 8 * b, p.kernels, y);
    std::memcpy(p.out + b * sizeof y, &y, sizeof y);
  }
}

}  // namespace puna
