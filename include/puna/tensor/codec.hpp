// Scalar codecs: a row of any stored type to f32. They are the oracle that every kernel is tested against, and are
// bit-identical to ggml's dequantisation.
#pragma once

#include <cstddef>

#include "puna/tensor/dtype.hpp"
#include "puna/tensor/encode_kernels.hpp"

namespace puna {

// n elements (a multiple of the type's block) from `src`, which need not be aligned.
void decode_row(DType type, const std::byte* src, float* dst, std::size_t n);

// The same the other way, n a multiple of the type's block; bit-identical to ggml's reference quantizers. importance: null,
// or what each element's error matters, as an importance matrix has it (mean squared activations of the row's columns).
// kernels: the searches of a kernel table (*machine_kernels().encode), or the plain loops; the bytes are the same.
void encode_row(DType type, const float* src, std::byte* dst, std::size_t n, const float* importance = nullptr,
                const EncodeKernels& kernels = reference_encode);

}  // namespace puna
