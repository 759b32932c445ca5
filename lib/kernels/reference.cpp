// The plain-loop twins of all kernels: what each of them means, and what runs where there is no SIMD.
//
// Products with quantized types follow the same arithmetic as the SIMD paths, operation by operation: an exact integer
// dot product per scale, then one chain of fused multiply-adds over the blocks. So they agree bit for bit with every path
// that has an fma instruction.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/tables.hpp"
#include "puna/base/half.hpp"
#include "puna/tensor/pack.hpp"
#include "tensor/unpack.hpp"

namespace puna {
namespace {

constexpr std::uint32_t reference_pack_rows = 8;

// ---- products -------------------------------------------------------------------------------------------------------

// Block `b` of 32 of a row: rows as stored, or one of `pack` side by side.
void block_of(const MatmulTile& tile, std::uint32_t row, std::size_t b, Unpacked32& w) {
  if (tile.pack == 0) return unpack32(tile.type, tile.weights + row * tile.weight_stride, b, w);
  std::byte block[largest_block_bytes];
  const std::size_t per_block = info(tile.type).block / 32;
  unpack_block(tile.type, tile.weights + row / tile.pack * tile.pack * tile.weight_stride, tile.pack, row % tile.pack, b / per_block,
               block);
  unpack32(tile.type, block, b % per_block, w);
}

float dot_quantized(const MatmulTile& tile, std::uint32_t row, const ActBlock* acts) {
  const DType type = tile.type;
  const std::size_t blocks = tile.columns / 32;
  const bool minimums = has_minimums(type);
  const bool halves = has_scales_per_16(type);
  float sum = 0;
  Unpacked32 w{};
  for (std::size_t b = 0; b < blocks; ++b) {
    block_of(tile, row, b, w);
    const ActBlock& x = acts[b];
    int dot[2] = {0, 0};
    for (int i = 0; i < 32; ++i) dot[i / 16] += w.q[i] * x.q[i];
    if (halves) {
      for (int h = 0; h < 2; ++h) sum = std::fma(static_cast<float>(dot[h]), w.scale[h] * x.d, sum);
      if (minimums) sum = std::fma(w.minimum[1], x.sum_hi, std::fma(w.minimum[0], x.sum_lo, sum));
    } else {
      sum = std::fma(static_cast<float>(dot[0] + dot[1]), w.scale[0] * x.d, sum);
      if (minimums) sum = std::fma(w.minimum[0], x.sum_lo + x.sum_hi, sum);
    }
  }
  return sum;
}

float load_weight(DType type, const std::byte* p) {
  if (type == DType::f32) {
    float value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return type == DType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
}

// Eight running sums, so that a compiler may use what vectors it has without changing the order.
float dot_float(DType type, const std::byte* row, const float* x, std::size_t n) {
  const std::size_t size = info(type).block_bytes;
  float lanes[8] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % 8] += load_weight(type, row + i * size) * x[i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void matmul(const MatmulTile& tile) {
  const bool quantized = info(tile.type).quantized();
  for (std::uint32_t t = 0; t < tile.tokens; ++t)
    for (std::uint32_t r = 0; r < tile.rows; ++r) {
      const std::byte* row = tile.weights + r * tile.weight_stride;
      float& y = tile.y[t * tile.y_stride + r];
      if (quantized)
        y = dot_quantized(tile, r, static_cast<const ActBlock*>(tile.acts) + t * tile.act_stride);
      else
        y = dot_float(tile.type, row, static_cast<const float*>(tile.acts) + t * tile.act_stride, tile.columns);
    }
}

// ---- activations ------------------------------------------------------------------------------------------------------

void quantize_block(const float* x, ActBlock& out) {
  float largest = 0;
  float probe = 0;  // stays 0 unless an infinity or a NaN is among the values
  for (int i = 0; i < 32; ++i) {
    largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
    probe += x[i] * 0.0f;
  }
  const bool finite = probe == 0;
  const float d = largest / 127.0f;
  int sums[2] = {0, 0};
  for (int i = 0; i < 32; ++i) {
    float q = 0;
    if (finite && d > 0) {
      q = std::nearbyint(x[i] / d);
      q = q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q;  // where d is subnormal, the quotient can be more
    }
    out.q[i] = static_cast<std::int8_t>(q);
    sums[i / 16] += out.q[i];
  }
  out.d = finite ? d : std::numeric_limits<float>::quiet_NaN();
  out.qsum_lo = static_cast<std::int16_t>(sums[0]);
  out.qsum_hi = static_cast<std::int16_t>(sums[1]);
  out.sum_lo = out.d * static_cast<float>(sums[0]);
  out.sum_hi = out.d * static_cast<float>(sums[1]);
}

void quantize(const float* x, std::size_t n, ActBlock* out) {
  for (std::size_t b = 0; b < n / 32; ++b) quantize_block(x + 32 * b, out[b]);
}

void rms_norm(float* y, const float* x, const float* weight, std::size_t n, float epsilon) {
  float lanes[8] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % 8] += x[i] * x[i];
  const float sum = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + epsilon);
  for (std::size_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

void rope(float* x, const float* cos, const float* sin, std::uint32_t heads, std::uint32_t head_dim) {
  for (std::uint32_t h = 0; h < heads; ++h, x += head_dim)
    for (std::uint32_t i = 0; i < head_dim / 2; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = a * sin[i] + b * cos[i];
    }
}

void swiglu(float* y, const float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    // -infinity is held at the lowest float, because infinity / infinity is no answer where the limit is 0.
    const float z = gate[i] < std::numeric_limits<float>::lowest() ? std::numeric_limits<float>::lowest() : gate[i];
    y[i] = z / (1.0f + std::exp(-z)) * up[i];
  }
}

void add(float* y, const float* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] += x[i];
}

void half_row(Half* y, const float* x, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = to_half(x[i]);
}

// ---- attention --------------------------------------------------------------------------------------------------------

struct Online {  // a softmax that has seen some of its keys
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

// A query as a block cache multiplies it: 16-bit codes, so that their products with keys' codes are exact integers.
float quantize_query(const float* q, std::uint32_t n, std::int16_t* codes) {
  float largest = 0, probe = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    largest = std::fabs(q[i]) > largest ? std::fabs(q[i]) : largest;
    probe += q[i] * 0.0f;
  }
  const float d = largest / 32767.0f;
  for (std::uint32_t i = 0; i < n; ++i) {
    const float code = probe == 0 && d > 0 ? std::nearbyint(q[i] / d) : 0.0f;
    codes[i] = static_cast<std::int16_t>(code > 32767.0f ? 32767.0f : code < -32767.0f ? -32767.0f : code);
  }
  return probe == 0 ? d : std::numeric_limits<float>::quiet_NaN();
}

struct Query {
  const float* x;
  const std::int16_t* codes;  // with blocks
  float scale;
};

float score(const AttendTile& a, const std::byte* key, const Query& q) {
  if (!info(a.cache_type).quantized()) return dot_float(a.cache_type, key, q.x, a.head_dim) * a.scale;
  Unpacked32 block{};
  float sum = 0;
  for (std::uint32_t b = 0; b < a.head_dim / 32; ++b) {
    unpack32(a.cache_type, key, b, block);
    std::int32_t dot = 0;
    for (std::uint32_t i = 0; i < 32; ++i) dot += block.q[i] * q.codes[32 * b + i];
    sum += static_cast<float>(dot) * block.scale[0];
  }
  return sum * (a.scale * q.scale);
}

void add_value(const AttendTile& a, const std::byte* value, float weight, float* out) {
  if (!info(a.cache_type).quantized()) {
    const std::size_t size = info(a.cache_type).block_bytes;
    for (std::uint32_t i = 0; i < a.head_dim; ++i) out[i] += weight * load_weight(a.cache_type, value + i * size);
    return;
  }
  Unpacked32 block{};
  for (std::uint32_t b = 0; b < a.head_dim / 32; ++b) {
    unpack32(a.cache_type, value, b, block);
    for (std::uint32_t i = 0; i < 32; ++i) out[32 * b + i] += weight * block.scale[0] * static_cast<float>(block.q[i]);
  }
}

// Adds the keys of one page to a head's output.
void attend_page(const AttendTile& a, const std::byte* page, std::uint32_t count, const Query& q, float* out, Online& state) {
  const auto stride = static_cast<std::size_t>(row_bytes(a.cache_type, a.head_dim));
  float scores[page_tokens];
  float maximum = state.maximum;
  for (std::uint32_t j = 0; j < count; ++j) {
    scores[j] = score(a, page + a.k_offset + j * stride, q);
    if (scores[j] > maximum) maximum = scores[j];
  }
  const float keep = state.sum > 0 ? std::exp(state.maximum - maximum) : 0.0f;
  state.maximum = maximum;
  state.sum *= keep;
  for (std::uint32_t i = 0; i < a.head_dim; ++i) out[i] *= keep;
  for (std::uint32_t j = 0; j < count; ++j) {
    const float weight = std::exp(scores[j] - maximum);
    state.sum += weight;
    add_value(a, page + a.v_offset + j * stride, weight, out);
  }
}

void attend_head(const AttendTile& a, std::uint32_t keys, const float* q, float* out) {
  auto* codes = reinterpret_cast<std::int16_t*>(a.scratch);
  const Query query{q, codes, info(a.cache_type).quantized() ? quantize_query(q, a.head_dim, codes) : 1.0f};
  std::memset(out, 0, a.head_dim * sizeof(float));
  Online state;
  for (std::uint32_t first = 0; first < keys; first += page_tokens) {
    const std::uint32_t count = keys - first < page_tokens ? keys - first : page_tokens;
    attend_page(a, a.pages[first / page_tokens], count, query, out, state);
  }
  for (std::uint32_t i = 0; i < a.head_dim; ++i) out[i] /= state.sum;
}

void attend(const AttendTile& a) {
  for (std::uint32_t t = 0; t < a.tokens; ++t)
    for (std::uint32_t g = 0; g < a.group; ++g) {
      const std::size_t at = t * a.stride + static_cast<std::size_t>(g) * a.head_dim;
      attend_head(a, a.keys + t, a.q + at, a.out + at);
    }
}

// ---- the products of training -------------------------------------------------------------------------------------------

void gemm(const GemmTile& t) {
  for (std::uint32_t i = 0; i < t.m; ++i)
    for (std::uint32_t j = 0; j < t.n; ++j) {
      float& c = t.c[i * t.c_row + j];
      if (!t.add) c = 0;
      for (std::uint32_t first = 0; first < t.k; first += gemm_depth) {
        const std::uint32_t end = t.k - first < gemm_depth ? t.k : first + gemm_depth;
        float sum = 0;
        for (std::uint32_t p = first; p < end; ++p) sum += t.a[i * t.a_row + p * t.a_col] * t.b[p * t.b_row + j * t.b_col];
        c += t.scale * sum;
      }
    }
}

}  // namespace

const Kernels kernels_reference = {Isa::reference, "reference", reference_pack_rows, matmul, quantize, rms_norm, rope,
                                   swiglu,         add,         half_row, attend, &reference_encode, gemm};


}  // namespace puna
