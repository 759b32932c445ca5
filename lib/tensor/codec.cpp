#include "puna/tensor/codec.hpp"

#include <bit>
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

// to_float(Half) without a branch, for compilers to vectorise: masks, since a choice between floats may become a jump, and
// signed numbers, which are all that SSE2 compares. No subnormal float on the way, whatever the host's mode.
std::uint32_t float_bits(std::int32_t half) {
  const std::int32_t shifted = (half & 0x7fff) << 13;
  const std::int32_t no_number = -static_cast<std::int32_t>(shifted > 0x0f7fffff);
  const std::int32_t subnormal = -static_cast<std::int32_t>(shifted < 0x00800000);
  const std::int32_t normal = shifted + 0x38000000 + (no_number & 0x38000000);
  const auto small = std::bit_cast<std::int32_t>(static_cast<float>(half & 0x3ff) * 0x1p-24f);
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  return static_cast<std::uint32_t>((small & subnormal) | (normal & ~subnormal)) | sign;
}

void decode_halves(const std::byte* src, float* dst, std::size_t n) {
  constexpr std::size_t at_once = 32;
  for (; n >= at_once; n -= at_once, src += at_once * sizeof(Half), dst += at_once) {
    std::uint16_t halves[at_once];
    std::uint32_t floats[at_once];
    std::memcpy(halves, src, sizeof halves);
    for (std::size_t i = 0; i < at_once; ++i) floats[i] = float_bits(halves[i]);
    std::memcpy(dst, floats, sizeof floats);
  }
  decode_floats<Half>(src, dst, n);
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
    case DType::f16: return decode_halves(src, dst, n);
    case DType::bf16: return decode_floats<BFloat16>(src, dst, n);
    default: return decode_blocks(type, src, dst, n);
  }
}

}  // namespace puna
