// The moments of AdamW in 8 bits a value (Dettmers et al., 2022): blocks of 256 share their largest magnitude, and a code names one of
// 256 parts of it, spread over seven decades: bitsandbytes' dynamic map, so that small moments keep their first digit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rows.hpp"

namespace puna {

inline constexpr std::size_t moment_block = 256;

// Codes of the first moment are signed, of the second not. [256], ascending.
const float* moment_map(bool with_sign);
// Returns the largest magnitude.
float encode_moments(bool with_sign, const float* x, std::size_t n, std::uint8_t* codes);
void decode_moments(bool with_sign, const std::uint8_t* codes, float top, std::size_t n, float* x);

struct Moments8 {
  std::uint8_t* codes;
  float* tops;  // of each block
};
void adamw8(const AdamStep& a, float* w, float* g, Moments8 first, Moments8 second, std::size_t n);

}  // namespace puna
