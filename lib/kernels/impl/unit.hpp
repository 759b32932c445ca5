// An ISA unit's table, made of the templates and the unit's policy.
#pragma once

#include "kernels/impl/attend.hpp"
#include "kernels/impl/encode.hpp"
#include "kernels/impl/floats.hpp"
#include "kernels/impl/gemm.hpp"
#include "kernels/impl/quantized.hpp"
#include "kernels/impl/vectors.hpp"

namespace puna {
namespace {

template <class A>
void matmul(const MatmulTile& tile) {
  switch (tile.type) {
    case DType::f32: return float_matmul<A, StoredF32>(tile);
    case DType::f16: return float_matmul<A, StoredF16>(tile);
    case DType::bf16: return float_matmul<A, StoredBF16>(tile);
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
  }
}

template <class A>
constexpr Kernels make_table(Isa isa, std::string_view name) {
  return {isa, name, A::lanes, matmul<A>, quantize<A>, rms_norm<A>, rope<A>, swiglu<A>, add<A>, half_row<A>, attend<A>,
          &Encode<A>::table, gemm<A>};
}

}  // namespace
}  // namespace puna
