// Encoders of the block types over a part of a row. Private to lib/tensor.
#pragma once

#include <cstddef>

#include "puna/tensor/blocks.hpp"
#include "puna/tensor/encode_kernels.hpp"

namespace puna {

inline constexpr std::size_t encode_batch = 1024;  // elements of a part at most: its groups are searched side by side

struct EncodePart {
  const float* x;
  std::size_t n;            // whole blocks
  const float* importance;  // null, or one per element
  float mean_square;        // of the whole row, which the legacy types weigh importance with
  std::byte* out;           // need not be aligned
  const EncodeKernels& kernels;
};

void encode_q4_0(const EncodePart& p);
void encode_q4_1(const EncodePart& p);
void encode_q5_0(const EncodePart& p);
void encode_q5_1(const EncodePart& p);
void encode_q2_k(const EncodePart& p);
void encode_q3_k(const EncodePart& p);
void encode_q4_k(const EncodePart& p);
void encode_q5_k(const EncodePart& p);
void encode_q6_k(const EncodePart& p);
void encode_iq4_nl(const EncodePart& p);
void encode_iq4_xs(const EncodePart& p);

}  // namespace puna
