#include "puna/tensor/pack.hpp"

#include <cstring>

#include "puna/base/checked.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
std::uint64_t packed_bytes(DType type, std::uint64_t rows, std::uint64_t columns, std::uint32_t R) {
  return size_product(size_product((rows + R - 1) / R, R), row_bytes(type, columns));
}

void pack_group(DType type, const std::byte* rows, std::size_t stride, std::uint32_t count, std::size_t columns, std::uint32_t R,
                std::byte* group) {
  const PackShape shape = pack_shape(type);
  const DTypeInfo& t = info(type);
  for (std::uint32_t lane = 0; lane < R; ++lane) {
    const std::byte* row = rows + (lane < count ? lane : count - 1) * stride;
    const std::size_t blocks = columns / t.block;
    const std::size_t words = (t.block_bytes - 2 * shape.halves) / 4;
    std::byte* unit = group;
    for (std::size_t b = 0; b < blocks; ++b, row += t.block_bytes, unit += R * t.block_bytes) {
      for (std::uint32_t h = 0; h < shape.halves; ++h) std::memcpy(unit + (h * R + lane) * 2, row + shape.half_at + 2 * h, 2);
      const std::byte* from = row + shape.lead();
      std::byte* to = unit + 2 * shape.halves * R + 4 * lane;
      for (std::size_t w = 0; w < words; ++w, from += 4, to += 4 * R) std::memcpy(to, from, 4);
    }
  }
}

void unpack_block(DType type, const std::byte* group, std::uint32_t R, std::uint32_t lane, std::size_t index, std::byte* block) {
  const PackShape shape = pack_shape(type);
  const std::size_t bytes = info(type).block_bytes, words = (bytes - 2 * shape.halves) / 4;
  const std::byte* unit = group + index * R * bytes;
  for (std::uint32_t h = 0; h < shape.halves; ++h) std::memcpy(block + shape.half_at + 2 * h, unit + (h * R + lane) * 2, 2);
  const std::byte* from = unit + 2 * shape.halves * R + 4 * lane;
  for (std::size_t w = 0; w < words; ++w) std::memcpy(block + shape.lead() + 4 * w, from + w * R * 4, 4);
}

void decode_matrix_row(const Matrix& m, std::size_t r, float* out) { decode_matrix_part(m, r, 0, m.columns, out); }

void decode_matrix_part(const Matrix& m, std::size_t r, std::size_t first, std::size_t count, float* out) {
  if (m.pack == 0) return decode_row(m.type, m.row(r) + row_bytes(m.type, first), out, count);
  const DTypeInfo& t = info(m.type);
  const std::byte* group = m.row(r / m.pack * m.pack);
  std::byte block[largest_block_bytes];
  for (std::size_t b = 0; b < count / t.block; ++b) {
    unpack_block(m.type, group, m.pack, static_cast<std::uint32_t>(r % m.pack), first / t.block + b, block);
    decode_row(m.type, block, out + b * t.block, t.block);
  }
}

}  // namespace puna
