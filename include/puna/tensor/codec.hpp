// Scalar codecs: a row of any stored type to f32. They are the oracle that every kernel is tested against, and are
// bit-identical to ggml's dequantisation.
#pragma once

#include <cstddef>

#include "puna/tensor/dtype.hpp"

namespace puna {

// n elements (a multiple of the type's block) from `src`, which need not be aligned.
void decode_row(DType type, const std::byte* src, float* dst, std::size_t n);

}  // namespace puna
