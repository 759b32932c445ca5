#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avxvnni
#endif
#include "kernels/impl/arch_avx2.hpp"
#include "kernels/impl/unit.hpp"

constinit const puna::Kernels puna::kernels_avxvnni = puna::make_table<puna::Avx2>(puna::Isa::avx_vnni, "avxvnni");
