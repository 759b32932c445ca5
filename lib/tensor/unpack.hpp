// One 32-element block of any quantized type, unpacked by plain loops: what the scalar codec multiplies out and what the
// reference kernels multiply with. A superblock of 256 holds eight such blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "puna/tensor/blocks.hpp"
#include "puna/tensor/dtype.hpp"

namespace puna {

// Element i is scale[i / 16] * q[i] + minimum[i / 16]; the second half repeats the first where a type has one per 32.
struct Unpacked32 {
  std::int8_t q[32];
  float scale[2];
  float minimum[2];
};

constexpr bool has_minimums(DType t) {
  return t == DType::q4_1 || t == DType::q5_1 || t == DType::q2_k || t == DType::q4_k || t == DType::q5_k;
}
constexpr bool has_scales_per_16(DType t) { return t == DType::q2_k || t == DType::q3_k || t == DType::q6_k; }

namespace unpacking {

inline void scales(Unpacked32& out, float scale, float minimum = 0) {
  out.scale[0] = out.scale[1] = scale;
  out.minimum[0] = out.minimum[1] = minimum;
}

// Low nibbles are elements 0..15, high nibbles 16..31; `high` has a fifth bit per element.
inline void nibbles(Unpacked32& out, const std::uint8_t* qs, std::uint32_t high, int offset) {
  for (int j = 0; j < 16; ++j) {
    out.q[j] = static_cast<std::int8_t>(((qs[j] & 15) | ((high >> j & 1) << 4)) - offset);
    out.q[j + 16] = static_cast<std::int8_t>(((qs[j] >> 4) | ((high >> (j + 16) & 1) << 4)) - offset);
  }
}

inline std::uint32_t bits32(const std::uint8_t (&bytes)[4]) {
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<std::uint32_t>(bytes[3]) << 24;
}

// Scale and minimum j of Q4_K and Q5_K: six bits each, the upper two of the last four kept beside the first four.
inline void scale_min(int j, const std::uint8_t* s, int& scale, int& minimum) {
  if (j < 4) {
    scale = s[j] & 63;
    minimum = s[j + 4] & 63;
  } else {
    scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}

inline void unpack(const BlockQ4_0& b, int, Unpacked32& out) {
  nibbles(out, b.qs, 0, 8);
  scales(out, to_float(b.d));
}
inline void unpack(const BlockQ4_1& b, int, Unpacked32& out) {
  nibbles(out, b.qs, 0, 0);
  scales(out, to_float(b.d), to_float(b.m));
}
inline void unpack(const BlockQ5_0& b, int, Unpacked32& out) {
  nibbles(out, b.qs, bits32(b.qh), 16);
  scales(out, to_float(b.d));
}
inline void unpack(const BlockQ5_1& b, int, Unpacked32& out) {
  nibbles(out, b.qs, bits32(b.qh), 0);
  scales(out, to_float(b.d), to_float(b.m));
}
inline void unpack(const BlockQ8_0& b, int, Unpacked32& out) {
  std::memcpy(out.q, b.qs, 32);
  scales(out, to_float(b.d));
}
inline void unpack(const BlockQ8F32& b, int, Unpacked32& out) {
  std::memcpy(out.q, b.qs, 32);
  scales(out, b.d);
}
inline void unpack(const BlockIQ4NL& b, int, Unpacked32& out) {
  for (int j = 0; j < 16; ++j) {
    out.q[j] = iq4_levels[b.qs[j] & 15];
    out.q[j + 16] = iq4_levels[b.qs[j] >> 4];
  }
  scales(out, to_float(b.d));
}
inline void unpack(const BlockIQ4XS& b, int sub, Unpacked32& out) {
  for (int j = 0; j < 16; ++j) {
    out.q[j] = iq4_levels[b.qs[16 * sub + j] & 15];
    out.q[j + 16] = iq4_levels[b.qs[16 * sub + j] >> 4];
  }
  const int s = (b.scales_l[sub / 2] >> 4 * (sub & 1) & 15) | (b.scales_h >> 2 * sub & 3) << 4;
  scales(out, to_float(b.d) * static_cast<float>(s - 32));
}
inline void unpack(const BlockQ2K& b, int sub, Unpacked32& out) {
  for (int i = 0; i < 32; ++i) out.q[i] = static_cast<std::int8_t>(b.qs[32 * (sub / 4) + i] >> 2 * (sub % 4) & 3);
  for (int h = 0; h < 2; ++h) {
    const int s = b.scales[2 * sub + h];
    out.scale[h] = to_float(b.d) * static_cast<float>(s & 15);
    out.minimum[h] = -(to_float(b.dmin) * static_cast<float>(s >> 4));
  }
}
inline void unpack(const BlockQ3K& b, int sub, Unpacked32& out) {
  for (int i = 0; i < 32; ++i) {
    const int low = b.qs[32 * (sub / 4) + i] >> 2 * (sub % 4) & 3;
    out.q[i] = static_cast<std::int8_t>(low - ((b.hmask[i] >> sub & 1) ? 0 : 4));
  }
  for (int h = 0; h < 2; ++h) {
    const int j = 2 * sub + h;
    const int low = j < 8 ? b.scales[j] & 15 : b.scales[j - 8] >> 4;
    const int s = low | (b.scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
    out.scale[h] = to_float(b.d) * static_cast<float>(s - 32);
    out.minimum[h] = 0;
  }
}
inline void unpack(const BlockQ4K& b, int sub, Unpacked32& out) {
  for (int i = 0; i < 32; ++i) out.q[i] = static_cast<std::int8_t>(b.qs[32 * (sub / 2) + i] >> 4 * (sub & 1) & 15);
  int s = 0, m = 0;
  scale_min(sub, b.scales, s, m);
  scales(out, to_float(b.d) * static_cast<float>(s), -(to_float(b.dmin) * static_cast<float>(m)));
}
inline void unpack(const BlockQ5K& b, int sub, Unpacked32& out) {
  for (int i = 0; i < 32; ++i)
    out.q[i] = static_cast<std::int8_t>((b.qs[32 * (sub / 2) + i] >> 4 * (sub & 1) & 15) | (b.qh[i] >> sub & 1) << 4);
  int s = 0, m = 0;
  scale_min(sub, b.scales, s, m);
  scales(out, to_float(b.d) * static_cast<float>(s), -(to_float(b.dmin) * static_cast<float>(m)));
}
inline void unpack(const BlockQ6K& b, int sub, Unpacked32& out) {
  const int half = sub / 4, part = sub % 4;  // a half of 128 elements holds four parts of 32
  for (int i = 0; i < 32; ++i) {
    const int low = b.ql[64 * half + 32 * (part & 1) + i] >> 4 * (part / 2) & 15;
    const int high = b.qh[32 * half + i] >> 2 * part & 3;
    out.q[i] = static_cast<std::int8_t>((low | high << 4) - 32);
  }
  for (int h = 0; h < 2; ++h) {
    out.scale[h] = to_float(b.d) * static_cast<float>(b.scales[2 * sub + h]);
    out.minimum[h] = 0;
  }
}

template <class Block>
void unpack_at(const std::byte* row, std::size_t index, Unpacked32& out, int per_block) {
  Block block;  // a copy, because a file may give any alignment
  std::memcpy(&block, row + index / per_block * sizeof(Block), sizeof(Block));
  unpack(block, static_cast<int>(index % per_block), out);
}

}  // namespace unpacking

// Block `index` (of 32 elements) of a row. The type must be quantized.
inline void unpack32(DType type, const std::byte* row, std::size_t index, Unpacked32& out) {
  using namespace unpacking;
  switch (type) {
    case DType::q4_0: return unpack_at<BlockQ4_0>(row, index, out, 1);
    case DType::q4_1: return unpack_at<BlockQ4_1>(row, index, out, 1);
    case DType::q5_0: return unpack_at<BlockQ5_0>(row, index, out, 1);
    case DType::q5_1: return unpack_at<BlockQ5_1>(row, index, out, 1);
    case DType::q8_0: return unpack_at<BlockQ8_0>(row, index, out, 1);
    case DType::q2_k: return unpack_at<BlockQ2K>(row, index, out, 8);
    case DType::q3_k: return unpack_at<BlockQ3K>(row, index, out, 8);
    case DType::q4_k: return unpack_at<BlockQ4K>(row, index, out, 8);
    case DType::q5_k: return unpack_at<BlockQ5K>(row, index, out, 8);
    case DType::q6_k: return unpack_at<BlockQ6K>(row, index, out, 8);
    case DType::iq4_nl: return unpack_at<BlockIQ4NL>(row, index, out, 1);
    case DType::iq4_xs: return unpack_at<BlockIQ4XS>(row, index, out, 8);
    case DType::q8_f32: return unpack_at<BlockQ8F32>(row, index, out, 1);
    case DType::f32:
    case DType::f16:
    case DType::bf16: break;
  }
}

}  // namespace puna
