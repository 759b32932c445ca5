#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT neon_dotprod
#endif
#include "kernels/impl/arch_neon.hpp"
#include "kernels/impl/dot_unit.hpp"

constinit const puna::Kernels puna::kernels_neon_dotprod =
    puna::make_dot_table<puna::Neon, puna::kernels_neon>(puna::Isa::neon_dotprod, "neon_dotprod", puna::encode_neon);
