// The table of a unit that adds an integer dot product to another: its quantized products are compiled anew, all else is
// the other unit's, called through its table. A copy of the rest would be a fifth of the library.
#pragma once

#include "kernels/impl/quantized_types.hpp"
#include "kernels/tables.hpp"

namespace puna {
namespace {

template <const Kernels& From, auto Member>
struct Borrowed;

template <const Kernels& From, class... Args, void (*Kernels::*Member)(Args...)>
struct Borrowed<From, Member> {
  static void call(Args... args) { (From.*Member)(args...); }
};

template <class A, const Kernels& From>
void dot_matmul(const MatmulTile& tile) {
  const bool floats = tile.type == DType::f32 || tile.type == DType::f16 || tile.type == DType::bf16;
  return floats ? From.matmul(tile) : quantized_matmul<A>(tile);
}

template <class A, const Kernels& From>
constexpr Kernels make_dot_table(Isa isa, std::string_view name, const EncodeKernels& encode) {
  return {isa,
          name,
          A::lanes,
          dot_matmul<A, From>,
          Borrowed<From, &Kernels::quantize>::call,
          Borrowed<From, &Kernels::rms_norm>::call,
          Borrowed<From, &Kernels::rope>::call,
          Borrowed<From, &Kernels::swiglu>::call,
          Borrowed<From, &Kernels::add>::call,
          Borrowed<From, &Kernels::to_half>::call,
          Borrowed<From, &Kernels::attend>::call,
          &encode,
          Borrowed<From, &Kernels::gemm>::call};
}

}  // namespace
}  // namespace puna
