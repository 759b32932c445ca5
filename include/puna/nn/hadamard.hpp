// The Walsh-Hadamard transform, orthonormal and its own inverse: it spreads a head's few large numbers over all of them, so
// that a scale per 32 wastes less of four bits (Ashkboos et al., 2024). Scores stay, because queries turn with the keys.
#pragma once

#include <cmath>
#include <cstdint>

namespace puna {

// Over pieces of the largest power of two that divides n. Sums and differences only, then one product: no operation that a
// compiler could fuse, so the bits are the same everywhere.
inline void hadamard(float* x, std::uint32_t n) {
  const std::uint32_t size = n & (0u - n);
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  for (std::uint32_t half = 1; half < size; half *= 2)
    for (std::uint32_t i = 0; i < n; i += 2 * half)
      for (std::uint32_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
  for (std::uint32_t i = 0; i < n; ++i) x[i] *= scale;
}

}  // namespace puna
