// One superblock or block at a time; importance null or per element of the row. Private to lib/tensor.
#pragma once

#include "puna/tensor/blocks.hpp"

namespace puna {

// mean_square: of the whole row, which the legacy types weigh importance with.
void encode(const float* x, const float* importance, float mean_square, BlockQ4_0& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ4_1& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ5_0& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ5_1& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ8_0& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ2K& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ3K& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ4K& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ5K& y);
void encode(const float* x, const float* importance, float mean_square, BlockQ6K& y);
void encode(const float* x, const float* importance, float mean_square, BlockIQ4NL& y);
void encode(const float* x, const float* importance, float mean_square, BlockIQ4XS& y);

}  // namespace puna
