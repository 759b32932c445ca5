#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT avx512vnni
#endif
#include "kernels/impl/arch_avx512.hpp"
#include "kernels/impl/unit.hpp"

constinit const puna::Kernels puna::kernels_avx512vnni = puna::make_table<puna::Avx512>(puna::Isa::avx512_vnni, "avx512vnni");
