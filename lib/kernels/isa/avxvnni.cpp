#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avxvnni
#endif
#include "kernels/impl/arch_avx2.hpp"
#include "kernels/impl/dot_unit.hpp"

constinit const puna::Kernels puna::kernels_avxvnni =
    puna::make_dot_table<puna::Avx2, puna::kernels_avx2>(puna::Isa::avx_vnni, "avxvnni", puna::encode_avx2);
