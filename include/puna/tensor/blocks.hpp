// ggml's quantized blocks: one POD each, little-endian, sizes asserted. Layouts: docs in ggml-common.h; HACKING.md lists them.
// The scalar codecs both ways are in tensor/codec.hpp.
#pragma once

#include <cstdint>

#include "puna/base/half.hpp"

namespace puna {

inline constexpr int block_small = 32;   // elements of a legacy block
inline constexpr int block_super = 256;  // elements of a K superblock

struct BlockQ4_0 { Half d; std::uint8_t qs[16]; };
struct BlockQ4_1 { Half d; Half m; std::uint8_t qs[16]; };
struct BlockQ5_0 { Half d; std::uint8_t qh[4]; std::uint8_t qs[16]; };
struct BlockQ5_1 { Half d; Half m; std::uint8_t qh[4]; std::uint8_t qs[16]; };
struct BlockQ8_0 { Half d; std::int8_t qs[32]; };
struct BlockQ2K { std::uint8_t scales[16]; std::uint8_t qs[64]; Half d; Half dmin; };
struct BlockQ3K { std::uint8_t hmask[32]; std::uint8_t qs[64]; std::uint8_t scales[12]; Half d; };
struct BlockQ4K { Half d; Half dmin; std::uint8_t scales[12]; std::uint8_t qs[128]; };
struct BlockQ5K { Half d; Half dmin; std::uint8_t scales[12]; std::uint8_t qh[32]; std::uint8_t qs[128]; };
struct BlockQ6K { std::uint8_t ql[128]; std::uint8_t qh[64]; std::int8_t scales[16]; Half d; };
struct BlockIQ4NL { Half d; std::uint8_t qs[16]; };
struct BlockIQ4XS { Half d; std::uint16_t scales_h; std::uint8_t scales_l[4]; std::uint8_t qs[128]; };
struct BlockQ8F32 { float d; std::int8_t qs[32]; };  // in memory only: llama2.c's int8

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210 && sizeof(BlockIQ4NL) == 18 && sizeof(BlockIQ4XS) == 136);
static_assert(sizeof(BlockQ8F32) == 36);

// The 16 levels of IQ4_NL and IQ4_XS.
inline constexpr std::int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

}  // namespace puna
