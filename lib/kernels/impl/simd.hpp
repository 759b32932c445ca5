// Included first by every ISA unit. xsimd is renamed per unit: its inline functions are compiled with this unit's
// instructions, and under a common name a linker could hand them to code that must run anywhere. Everything else here is
// in anonymous namespaces for the same reason, and no std function template is called.
#pragma once

#if !defined(PUNA_ISA_UNIT)
#error "an ISA unit is compiled with -DPUNA_ISA_UNIT=<its name>"
#endif
#define PUNA_JOIN_(a, b) a##b
#define PUNA_JOIN(a, b) PUNA_JOIN_(a, b)
#define xsimd PUNA_JOIN(puna_xsimd_, PUNA_ISA_UNIT)
#if !defined(NDEBUG)
#define NDEBUG  // xsimd's asserts would import abort
#endif
#include <xsimd/xsimd.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/tables.hpp"
#include "puna/kernels/table.hpp"
#include "puna/tensor/blocks.hpp"

#if defined(_MSC_VER)
#define PUNA_INLINE __forceinline
#else
#define PUNA_INLINE inline __attribute__((always_inline))
#endif

#if defined(__GNUC__)
#define PUNA_LAMBDA_INLINE __attribute__((always_inline))
#else
#define PUNA_LAMBDA_INLINE
#endif

// What a policy struct (arch_*.hpp) gives to the templates. A register is L lanes of 128 bits; a group of R = 4L rows is
// four registers, where lane l of register i belongs to row 4l + i.
//   F, I                     floats (an xsimd batch) and untyped integers; lanes = R
//   panel_groups, panel_tokens, tile_*   how many groups, rows and tokens the registers hold
//   gather16(rows, offset)   16 bytes of each of rows[0], rows[4], ... : one register
//   splat16, splat4          16 or 4 bytes repeated
//   and_ or_ xor_ shr shl    shifts act on 32-bit lanes, by a count of run time
//   equal8, lookup16         per byte; the table of 16 bytes is in every lane
//   dot(acc, w, a)           32-bit lanes of acc += four products; w in 0..63, or signed where S; a signed, not -128
//   sums(v0, v1, v2, v3)     the sum of each 128-bit lane, in the order of the rows
//   pin(v)                   nothing, but v is complete here: sums that a compiler regroups run out of registers
//   fma, div, sqrt, load_*   floats; where the processor has no fma, a product and a sum
//   splat_half, load_i8, load_nibbles<high>   a half in every lane; bytes, or nibbles less 8, as floats
//   wide_i8, wide_nibbles, pairs32   32 codes as 16-bit numbers; their products with others, summed by 32-bit lanes
