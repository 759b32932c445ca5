#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT neon
#endif
#include "kernels/impl/arch_neon.hpp"
#include "kernels/impl/unit.hpp"
#include "kernels/tables.hpp"

constinit const puna::Kernels puna::kernels_neon = puna::make_table<puna::Neon>(puna::Isa::neon, "neon");
constinit const puna::EncodeKernels puna::encode_neon = puna::Encode<puna::Neon>::table;
