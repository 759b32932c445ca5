#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avx512
#endif
#include "kernels/impl/arch_avx512.hpp"
#include "kernels/impl/unit.hpp"
#include "kernels/tables.hpp"

constinit const puna::Kernels puna::kernels_avx512 = puna::make_table<puna::Avx512>(puna::Isa::avx512, "avx512");
constinit const puna::EncodeKernels puna::encode_avx512 = puna::Encode<puna::Avx512>::table;
