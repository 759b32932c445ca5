// NF4 with double quantisation: what QLoRA trains on. In memory only; no file type, and no DType, because two of its
// parts belong to more than a row.
//
// How the two levels are stored, as bitsandbytes has them, over the flattened tensor:
//   codes    4 bits an element, the first of two in the high nibble: the nearest of 16 levels of x / absmax
//   absmax   a byte for every 64 elements: (absmax - offset) / scale as the nearest of the dynamic map's 256 values
//   scales   f32 for every 256 of these bytes (16384 elements): the largest |absmax - offset|
//   offset   f32, one for the tensor: the mean absmax
// That is 4 + 8/64 + 32/16384 = 4.127 bits a weight. The levels are no integers, so this is an operand of float
// kernels: rows are decoded into scratch (any range of elements can be), not unpacked to int8 (lib/tensor/unpack.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace puna {

inline constexpr std::size_t nf4_block = 64;
inline constexpr std::size_t nf4_group = 256;  // blocks that share a scale

constexpr std::size_t nf4_blocks(std::size_t n) { return (n + nf4_block - 1) / nf4_block; }
constexpr std::size_t nf4_groups(std::size_t n) { return (nf4_blocks(n) + nf4_group - 1) / nf4_group; }
constexpr std::size_t nf4_code_bytes(std::size_t n) { return (n + 1) / 2; }

// Someone else's memory.
struct Nf4View {
  const std::uint8_t* codes;   // [nf4_code_bytes(n)]
  const std::uint8_t* absmax;  // [nf4_blocks(n)]
  const float* scales;         // [nf4_groups(n)]
  float offset;
};

// First level: n elements from the start of a block; a tensor may be made in parts, in any order. absmax: f32; the second level compresses it.
void nf4_encode(const float* x, std::size_t n, std::uint8_t* codes, float* absmax);
// Second level, when all blocks are known.
float nf4_offset(const float* absmax, std::size_t blocks);
void nf4_compress(const float* absmax, std::size_t blocks, float offset, std::uint8_t* codes, float* scales);

// Elements [first, first + count) of the tensor, such as a row.
void nf4_decode(const Nf4View& tensor, std::size_t first, std::size_t count, float* out);

}  // namespace puna
