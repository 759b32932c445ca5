#include "puna/nn/cache_row.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "puna/tensor/blocks.hpp"

namespace puna {
namespace {

BlockQ8_0 block_q8(const ActBlock& x) {
  BlockQ8_0 y;
  y.d = to_half(x.d);
  std::memcpy(y.qs, x.q, sizeof y.qs);
  return y;
}

// The value of largest magnitude becomes the lowest code, -8.
BlockQ4_0 block_q4(const float* x, bool finite) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  float d = extreme / -8.0f;
  const float inverse = finite && d != 0.0f && std::isfinite(1.0f / d) ? 1.0f / d : 0.0f;
  int codes[32];
  float with = 0, square = 0;
  for (int i = 0; i < 32; ++i) {
    const float code = finite ? std::clamp(std::floor(x[i] * inverse + 0.5f), -8.0f, 7.0f) : 0.0f;
    codes[i] = static_cast<int>(code);
    with += x[i] * code;
    square += code * code;
  }
  if (square > 0.0f) d = with / square;
  BlockQ4_0 y;
  y.d = to_half(finite ? d : std::nanf(""));
  for (int i = 0; i < 16; ++i) y.qs[i] = static_cast<std::uint8_t>((codes[i] + 8) | (codes[i + 16] + 8) << 4);
  return y;
}

}  // namespace

bool is_cache_type(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::q8_0 || type == DType::q4_0;
}

void store_cache_row(const Kernels& kernels, DType type, std::byte* to, const float* x, std::uint32_t head_dim) {
  if (type == DType::f16) return kernels.to_half(reinterpret_cast<Half*>(to), x, head_dim);
  if (type == DType::f32) {
    std::memcpy(to, x, head_dim * sizeof(float));
    return;
  }
  constexpr std::uint32_t at_once = 8;
  ActBlock acts[at_once];
  for (std::uint32_t i = 0; i < head_dim; i += 32, to += info(type).block_bytes) {
    const std::uint32_t b = i / 32 % at_once;
    if (b == 0) kernels.quantize(x + i, std::min(head_dim - i, 32 * at_once), acts);
    if (type == DType::q8_0) {
      const BlockQ8_0 y = block_q8(acts[b]);
      std::memcpy(to, &y, sizeof y);
    } else {
      const BlockQ4_0 y = block_q4(x + i, std::isfinite(acts[b].d));
      std::memcpy(to, &y, sizeof y);
    }
  }
}

}  // namespace puna
