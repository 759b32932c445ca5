#include "tensor/encode.hpp"

#include <algorithm>
#include <cstring>

#include "puna/base/status.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
namespace {

// mean_square: what the legacy types weigh importance with.
void encode_parts(void (*encode)(const EncodePart&), DType type, const float* src, std::byte* dst, std::size_t n,
                  const float* importance, const EncodeKernels& kernels, bool mean_square) {
  float mean = 0.0f;
  if (importance && mean_square) {
    for (std::size_t i = 0; i < n; ++i) mean += src[i] * src[i];
    mean /= static_cast<float>(n);
  }
  for (std::size_t at = 0; at < n; at += encode_batch) {
    const std::size_t part = std::min(encode_batch, n - at);
    encode({src + at, part, importance ? importance + at : nullptr, mean, dst, kernels});
    dst += row_bytes(type, part);
  }
}

}  // namespace

void encode_row(DType type, const float* src, std::byte* dst, std::size_t n, const float* importance,
                const EncodeKernels& kernels) {
  const auto parts = [&](void (*encode)(const EncodePart&), bool mean_square) {
    encode_parts(encode, type, src, dst, n, importance, kernels, mean_square);
  };
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
    case DType::q4_0: return parts(encode_q4_0, true);
    case DType::q4_1: return parts(encode_q4_1, true);
    case DType::q5_0: return parts(encode_q5_0, true);
    case DType::q5_1: return parts(encode_q5_1, true);
    case DType::q8_0: return kernels.q8_0(src, n, dst);
    case DType::iq4_nl: return parts(encode_iq4_nl, false);
    case DType::q2_k: return parts(encode_q2_k, false);
    case DType::q3_k: return parts(encode_q3_k, false);
    case DType::q4_k: return parts(encode_q4_k, false);
    case DType::q5_k: return parts(encode_q5_k, false);
    case DType::q6_k: return parts(encode_q6_k, false);
    case DType::iq4_xs: return parts(encode_iq4_xs, false);
    case DType::q8_f32: break;
  }
  fail(Code::unsupported, "rows cannot be encoded as " + std::string(info(type).name));
}

}  // namespace puna
