// The only door to SIMD: a table of function pointers, chosen once per machine (or forced by PUNA_FORCE_ISA).
//
// Promise 5 lives here: for every output element the products are added in one order over the input dimension, whatever
// the number of rows or tokens in the call. So a caller may cut rows and tokens as it likes; it may not cut k.
// Every kernel has a plain-loop twin of the same signature in lib/kernels/reference.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "puna/base/half.hpp"
#include "puna/tensor/dtype.hpp"
#include "puna/tensor/encode_kernels.hpp"

namespace puna {

enum class Isa : std::int32_t {
  reference = 0,  // plain loops, any machine
  baseline = 1,   // SSE2 on x86-64
  avx2 = 2,       // AVX2, FMA, F16C
  avx_vnni = 3,   // avx2 and 256-bit VNNI
  avx512 = 4,     // F, CD, DQ, BW, VL
  avx512_vnni = 5,  // avx512 and VNNI
  neon = 16,
  neon_dotprod = 17,
};

// 32 activations of one token, as the block types multiply with them: x[i] ~ d * q[i], d = max|x| / 127,
// q = x / d rounded to nearest even, never -128. qsum_lo and qsum_hi are the sums of q[0..15] and q[16..31], for weight
// codes that carry an offset; sum_lo and sum_hi are d times these, for types with minimums.
// A block that holds an infinity or a NaN has d = NaN and q = 0, so that the product shows it.
struct alignas(16) ActBlock {
  float d;
  float sum_lo;
  float sum_hi;
  std::int16_t qsum_lo;
  std::int16_t qsum_hi;
  std::int8_t q[32];
};
static_assert(sizeof(ActBlock) == 48);

// y[t * y_stride + r] = sum over c < columns of weights[r][c] * acts[t][c], for r < rows, t < tokens.
struct MatmulTile {
  DType type;                // of the weights
  const std::byte* weights;  // first row
  std::size_t weight_stride; // bytes from row to row
  std::uint32_t rows;
  std::uint32_t columns;
  const void* acts;          // quantized types: ActBlock[tokens][act_stride]; else float[tokens][act_stride]
  std::size_t act_stride;    // in ActBlocks or floats
  std::uint32_t tokens;
  float* y;
  std::size_t y_stride;      // floats from token to token
  std::byte* scratch;        // matmul_scratch(columns) bytes, 64-byte aligned, this worker's own
  std::uint32_t pack = 0;    // Matrix::pack: 0 or the table's own; then the first row begins a group
};

// Bytes of scratch that one worker needs for any type: four rows of f32, or up to 1024 columns of two groups of sixteen
// rows as int8 codes with a scale and a minimum per 16.
constexpr std::size_t matmul_scratch(std::uint32_t columns) {
  const std::size_t n = columns;
  return 16 * (n + 64) + 48 * (n < 1024 ? n : 1024) + 256;
}

inline constexpr std::uint32_t page_tokens = 64;  // positions in a page of the cache, and a split of attention

// The query heads that share a key head, of some tokens of one sequence at consecutive positions, over all keys that they
// see. Keys are split at absolute positions, a page at a time, with an online softmax: m, l and the sum are rescaled per
// page. A head's sums do not know who shares the call.
struct AttendTile {
  const float* q;  // [tokens][stride], of each the first [group][head_dim]
  float* out;      // the same
  std::size_t stride;  // floats from token to token
  std::uint32_t tokens;
  std::uint32_t group;
  std::uint32_t head_dim;
  std::uint32_t keys;              // the first token sees positions 0 .. keys-1, keys >= 1; each later one sees one more
  const std::byte* const* pages;   // of the sequence
  std::size_t k_offset, v_offset;  // of this layer and key head inside a page: [page_tokens][head_dim]
  DType cache_type;                // f32 or f16; q8_0 or q4_0 where 32 divides head_dim
  float scale;                     // 1/sqrt(head_dim)
  std::byte* scratch;              // attend_scratch(tokens * group, head_dim) bytes, 64-byte aligned
};
// rows: tokens x group. For each its scores of a page twice, its softmax so far, its query, that as 16-bit codes, and its
// output; and 16 keys, or 32 elements of each of a page's values, as floats.
constexpr std::size_t attend_scratch(std::uint32_t rows, std::uint32_t head_dim) {
  const std::size_t row = (static_cast<std::size_t>(head_dim) + 31) / 32 * 32;
  return (std::size_t{rows} * (2 * page_tokens + 2 * row + row / 2 + 4) + (row < 128 ? 32 * page_tokens : 16 * row)) * sizeof(float) + 256;
}

// c[i][j] (=|+=) scale * sum over p < k of a[i][p] * b[p][j], all floats, any strides (in floats) of a and b: the products of
// training. The sum is cut at every gemm_depth-th p, so a caller may cut i and j as it likes, and k at multiples of that.
inline constexpr std::uint32_t gemm_depth = 256;
struct GemmTile {
  std::uint32_t m, n, k;
  const float* a;
  std::size_t a_row, a_col;
  const float* b;
  std::size_t b_row, b_col;
  float* c;
  std::size_t c_row;
  float scale;
  bool add;
  std::byte* scratch;  // gemm_scratch bytes, 64-byte aligned
};
inline constexpr std::uint32_t gemm_rows = 192;  // of a, packed at a time
inline constexpr std::size_t gemm_scratch = static_cast<std::size_t>(gemm_depth) * (gemm_rows + 64) * sizeof(float);

struct Kernels {
  Isa isa;
  std::string_view name;
  std::uint32_t pack_rows;  // the group that its products take packed
  void (*matmul)(const MatmulTile& tile);
  void (*quantize)(const float* x, std::size_t n, ActBlock* out);  // n a multiple of 32
  void (*rms_norm)(float* y, const float* x, const float* weight, std::size_t n, float epsilon);
  // Rotates adjacent pairs of each head: cos and sin have head_dim/2 entries for this position.
  void (*rope)(float* x, const float* cos, const float* sin, std::uint32_t heads, std::uint32_t head_dim);
  void (*swiglu)(float* y, const float* gate, const float* up, std::size_t n);  // y = silu(gate) * up
  void (*add)(float* y, const float* x, std::size_t n);                         // y += x
  void (*to_half)(Half* y, const float* x, std::size_t n);                      // round to nearest even
  void (*attend)(const AttendTile& tile);
  const EncodeKernels* encode;  // the searches of the encoders, bit for bit those of the plain loops
  void (*gemm)(const GemmTile& tile);
};

// The table of an ISA, or null when this build lacks it or this machine cannot run it.
const Kernels* kernels_for(Isa isa);
// What this machine runs: PUNA_FORCE_ISA (a name such as "avx2") if set and possible, else the choice of the CPU table.
// Throws Error(unsupported) when a forced path cannot run here.
const Kernels& machine_kernels();
// All paths that this build has and this machine can run, best last.
std::span<const Isa> available_isas();
std::string_view isa_name(Isa isa);

}  // namespace puna
