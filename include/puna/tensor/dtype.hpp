// Element types of stored tensors. File types carry ggml's numbers; a type that exists in memory only starts at 1000.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace puna {

enum class DType : std::int32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
  q8_f32 = 1000,  // llama2.c's int8 with its f32 scales, one per 32 elements: exact, in memory only
};

struct DTypeInfo {
  DType type;
  std::string_view name;      // "q4_K" as ggml spells it
  std::uint32_t block;        // elements in a block
  std::uint32_t block_bytes;  // bytes of a block
  bool quantized() const { return block > 1; }
};

// Null for a number that this library does not know.
const DTypeInfo* find_dtype(std::int32_t number);
const DTypeInfo& info(DType type);
std::optional<DType> dtype_from_name(std::string_view name);  // case-insensitive

// Bytes of a row of `columns` elements; columns must be a multiple of the block.
inline std::uint64_t row_bytes(DType type, std::uint64_t columns) {
  const auto& t = info(type);
  return columns / t.block * t.block_bytes;
}

// A stored matrix, row-major: rows x columns, as PyTorch's (out, in).
struct Matrix {
  DType type = DType::f32;
  const std::byte* data = nullptr;  // unaligned: kernels load without assuming more than the file gives
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  std::size_t stride = 0;  // bytes from row to row
  std::uint32_t pack = 0;  // rows interleaved in groups of so many (tensor/pack.hpp); 0: one after the other

  // Of a packed matrix: where a group begins, r being a multiple of `pack`.
  const std::byte* row(std::size_t r) const { return data + r * stride; }
};

}  // namespace puna
