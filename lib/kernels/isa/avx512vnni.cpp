#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avx512vnni
#endif
#include "kernels/impl/arch_avx512.hpp"
#include "kernels/impl/dot_unit.hpp"

constinit const puna::Kernels puna::kernels_avx512vnni =
    puna::make_dot_table<puna::Avx512, puna::kernels_avx512>(puna::Isa::avx512_vnni, "avx512vnni", puna::encode_avx512);
