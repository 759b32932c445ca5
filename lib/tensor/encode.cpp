#include "tensor/encode.hpp"

#include <cstring>
#include <type_traits>

#include "puna/base/status.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
namespace {

template <class Block>
void encode_blocks(const float* src, std::byte* dst, std::size_t n, std::size_t block, const float* importance) {
  float mean_square = 0.0f;
  if (importance) {
    float sum = 0.0f;
    for (std::size_t i = 0; i < n; ++i) sum += src[i] * src[i];
    mean_square = sum / static_cast<float>(n);
  }
  for (std::size_t at = 0; at < n; at += block, dst += sizeof(Block)) {
    Block y;
    encode(src + at, importance ? importance + at : nullptr, mean_square, y);
    std::memcpy(dst, &y, sizeof y);  // dst need not be aligned
  }
}

}  // namespace

void encode_row(DType type, const float* src, std::byte* dst, std::size_t n, const float* importance) {
  switch (type) {
    case DType::f32: std::memcpy(dst, src, n * sizeof(float)); return;
    case DType::f16:
      for (std::size_t i = 0; i < n; ++i) {
        const Half h = to_half(src[i]);
        std::memcpy(dst + 2 * i, &h, 2);
      }
      return;
    case DType::bf16:
      for (std::size_t i = 0; i < n; ++i) {
        const BFloat16 h = to_bfloat16(src[i]);
        std::memcpy(dst + 2 * i, &h, 2);
      }
      return;
    case DType::q4_0: return encode_blocks<BlockQ4_0>(src, dst, n, 32, importance);
    case DType::q4_1: return encode_blocks<BlockQ4_1>(src, dst, n, 32, importance);
    case DType::q5_0: return encode_blocks<BlockQ5_0>(src, dst, n, 32, importance);
    case DType::q5_1: return encode_blocks<BlockQ5_1>(src, dst, n, 32, importance);
    case DType::q8_0: return encode_blocks<BlockQ8_0>(src, dst, n, 32, importance);
    case DType::iq4_nl: return encode_blocks<BlockIQ4NL>(src, dst, n, 32, importance);
    case DType::q2_k: return encode_blocks<BlockQ2K>(src, dst, n, 256, importance);
    case DType::q3_k: return encode_blocks<BlockQ3K>(src, dst, n, 256, importance);
    case DType::q4_k: return encode_blocks<BlockQ4K>(src, dst, n, 256, importance);
    case DType::q5_k: return encode_blocks<BlockQ5K>(src, dst, n, 256, importance);
    case DType::q6_k: return encode_blocks<BlockQ6K>(src, dst, n, 256, importance);
    case DType::iq4_xs: return encode_blocks<BlockIQ4XS>(src, dst, n, 256, importance);
    case DType::q8_f32: break;
  }
  fail(Code::unsupported, "rows cannot be encoded as " + std::string(info(type).name));
}

}  // namespace puna
