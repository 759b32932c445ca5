// How a head's keys or values of one position stand in the cache.
#pragma once

#include "puna/kernels/table.hpp"

namespace puna {

// The types that a cache may have, and whether heads of this width can be stored so.
bool is_cache_type(DType type);
inline bool cache_type_fits(DType type, std::uint32_t head_dim) { return head_dim % info(type).block == 0; }

// q8_0: the int8 blocks that activations have, their scale rounded to a half. q4_0: ggml's codes, then the scale that fits
// them best. A block that holds an infinity or a NaN is NaN throughout.
void store_cache_row(const Kernels& kernels, DType type, std::byte* to, const float* x, std::uint32_t head_dim);

}  // namespace puna
