#if !defined(PUNA_ISA_UNIT)
#define PUNA_ISA_UNIT baseline
#endif
#include "kernels/tables.hpp"

#if defined(PUNA_BASELINE_IS_SSE2)  // elsewhere the plain loops are the baseline
#include "kernels/impl/arch_sse2.hpp"
#include "kernels/impl/unit.hpp"

constinit const puna::Kernels puna::kernels_baseline = puna::make_table<puna::Sse2>(puna::Isa::baseline, "baseline");
#endif
