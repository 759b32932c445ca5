#include "puna/tensor/codec.hpp"

#include <cstring>

#include "puna/base/half.hpp"
#include "tensor/unpack.hpp"

namespace puna {
namespace {

template <class Stored>
void decode_floats(const std::byte* src, float* dst, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    Stored value;
    std::memcpy(&value, src + i * sizeof(Stored), sizeof(Stored));
    dst[i] = to_float(value);
  }
}

// Product and sum are rounded apart (no fma: this file is compiled with -ffp-contract=off), as ggml does.
void decode_blocks(DType type, const std::byte* src, float* dst, std::size_t n) {
  const bool minimums = has_minimums(type);
  Unpacked32 block{};
  for (std::size_t i = 0; i < n; i += 32) {
    unpack32(type, src, i / 32, block);
    for (int j = 0; j < 32; ++j) {
      const float product = block.scale[j / 16] * static_cast<float>(block.q[j]);
      dst[i + j] = minimums ? product + block.minimum[j / 16] : product;
    }
  }
}

}  // namespace

void decode_row(DType type, const std::byte* src, float* dst, std::size_t n) {
  switch (type) {
    case DType::f32: std::memcpy(dst, src, n * sizeof(float)); return;
    case DType::f16: return decode_floats<Half>(src, dst, n);
    case DType::bf16: return decode_floats<BFloat16>(src, dst, n);
    default: return decode_blocks(type, src, dst, n);
  }
}

}  // namespace puna
