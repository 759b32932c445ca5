// The products of every quantized type, by a policy's integer dot product.
#pragma once

#include "kernels/impl/quantized.hpp"

namespace puna {
namespace {

template <class A>
void quantized_matmul(const MatmulTile& tile) {
  switch (tile.type) {
    case DType::q4_0: return Quantized<A, StepQ4_0>::matmul(tile);
    case DType::q4_1: return Quantized<A, StepQ4_1>::matmul(tile);
    case DType::q5_0: return Quantized<A, StepQ5_0>::matmul(tile);
    case DType::q5_1: return Quantized<A, StepQ5_1>::matmul(tile);
    case DType::q8_0: return Quantized<A, StepQ8_0>::matmul(tile);
    case DType::q2_k: return Quantized<A, StepQ2K>::matmul(tile);
    case DType::q3_k: return Quantized<A, StepQ3K>::matmul(tile);
    case DType::q4_k: return Quantized<A, StepQ4K>::matmul(tile);
    case DType::q5_k: return Quantized<A, StepQ5K>::matmul(tile);
    case DType::q6_k: return Quantized<A, StepQ6K>::matmul(tile);
    case DType::iq4_nl: return Quantized<A, StepIQ4NL>::matmul(tile);
    case DType::iq4_xs: return Quantized<A, StepIQ4XS>::matmul(tile);
    case DType::q8_f32: return Quantized<A, StepQ8F32>::matmul(tile);
    case DType::f32:
    case DType::f16:
    case DType::bf16: break;  // no quantized type
  }
}

}  // namespace
}  // namespace puna
