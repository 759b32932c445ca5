// Quantized rows re-laid for the kernels, exact to the last bit and no larger: R rows stand side by side, so that a
// vector holds the same place of R rows and is used as it is read.
//
// A unit is one block (or superblock) of each of R rows: first the type's 16-bit fields, R values of each; then the rest
// of the block as 32-bit words, R of each. Units follow along the columns, groups of R rows down the matrix; the last
// group repeats its last row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "puna/tensor/dtype.hpp"

namespace puna {

struct PackShape {
  std::uint32_t halves;   // 16-bit fields of a block that its words are not aligned with
  std::uint32_t half_at;  // where the first stands; either all at the front or all at the end
  constexpr std::uint32_t lead() const { return half_at == 0 ? 2 * halves : 0; }  // where the words begin
};

// Of a quantized type.
constexpr PackShape pack_shape(DType type) {
  switch (type) {
    case DType::q4_0:
    case DType::q5_0:
    case DType::q8_0:
    case DType::iq4_nl: return {1, 0};
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
    case DType::iq4_xs: return {2, 0};
    case DType::q2_k: return {2, 80};
    case DType::q3_k: return {1, 108};
    case DType::q6_k: return {1, 208};
    default: return {0, 0};
  }
}

// Bytes of a matrix packed for R rows: the last group is filled up.
std::uint64_t packed_bytes(DType type, std::uint64_t rows, std::uint64_t columns, std::uint32_t R);

// `count` rows (1 to R) of `columns` elements, `stride` bytes apart, into one group of R * row_bytes bytes.
void pack_group(DType type, const std::byte* rows, std::size_t stride, std::uint32_t count, std::size_t columns, std::uint32_t R,
                std::byte* group);
// Block `index` of row `lane` of a group, as it was stored.
void unpack_block(DType type, const std::byte* group, std::uint32_t R, std::uint32_t lane, std::size_t index, std::byte* block);

inline constexpr std::size_t largest_block_bytes = 256;

// Row r of a matrix, packed or not, as floats.
void decode_matrix_row(const Matrix& matrix, std::size_t r, float* out);
// Of it `count` elements from `first` on, both multiples of the type's block.
void decode_matrix_part(const Matrix& matrix, std::size_t r, std::size_t first, std::size_t count, float* out);

}  // namespace puna
