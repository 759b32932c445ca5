// An ISA unit's table, made of the templates and the unit's policy.
#pragma once

#include "kernels/impl/attend.hpp"
#include "kernels/impl/encode.hpp"
#include "kernels/impl/floats.hpp"
#include "kernels/impl/gemm.hpp"
#include "kernels/impl/quantized_types.hpp"
#include "kernels/impl/vectors.hpp"

namespace puna {
namespace {

template <class A>
void matmul(const MatmulTile& tile) {
  switch (tile.type) {
    case DType::f32: return float_matmul<A, StoredF32>(tile);
    case DType::f16: return float_matmul<A, StoredF16>(tile);
    case DType::bf16: return float_matmul<A, StoredBF16>(tile);
    default: return quantized_matmul<A>(tile);
  }
}

template <class A>
constexpr Kernels make_table(Isa isa, std::string_view name) {
  return {isa, name, A::lanes, matmul<A>, quantize<A>, rms_norm<A>, rope<A>, swiglu<A>, add<A>, half_row<A>, attend<A>,
          &Encode<A>::table, gemm<A>};
}

}  // namespace
}  // namespace puna
