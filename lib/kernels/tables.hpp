// The tables of all paths, one per translation unit. table.cpp picks among those that the build and the machine have.
#pragma once

#include "puna/kernels/table.hpp"

#if defined(__SSE2__) || defined(_M_X64) || (defined(_M_IX86_FP) && _M_IX86_FP >= 2)
#define PUNA_BASELINE_IS_SSE2 1
#endif

namespace puna {

extern const Kernels kernels_reference;
extern const Kernels kernels_baseline;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avxvnni;
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512vnni;
extern const Kernels kernels_neon;
extern const Kernels kernels_neon_dotprod;

extern const EncodeKernels encode_avx2;  // what the units of a dot product share with their base
extern const EncodeKernels encode_avx512;
extern const EncodeKernels encode_neon;

}  // namespace puna
