#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avx2
#endif
#include "kernels/impl/arch_avx2.hpp"
#include "kernels/impl/unit.hpp"
#include "kernels/tables.hpp"

constinit const puna::Kernels puna::kernels_avx2 = puna::make_table<puna::Avx2>(puna::Isa::avx2, "avx2");
constinit const puna::EncodeKernels puna::encode_avx2 = puna::Encode<puna::Avx2>::table;
