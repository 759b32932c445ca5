// 128-bit registers, what every x86-64 has: no byte shuffle, no fma, no half. Correct everywhere comes before fast.
#pragma once

#include <emmintrin.h>

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

struct Sse2 {
  using Arch = xsimd::sse2;
  using F = xsimd::batch<float, Arch>;
  using I = __m128i;
  static constexpr int lanes = 4;
  static constexpr int panel_groups = 1;
  static constexpr int panel_tokens = 3;
  static constexpr int tile_rows = 4;
  static constexpr int tile_tokens = 2;
  static constexpr bool unsigned_weights = false;
  static constexpr bool sums_16bit = false;

  static PUNA_INLINE I load(const std::byte* p) { return _mm_load_si128(reinterpret_cast<const I*>(p)); }
  static PUNA_INLINE I loadu(const std::byte* p) { return splat16(p); }
  static PUNA_INLINE I load_u16(const std::byte* p) {
    return _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const I*>(p)), _mm_setzero_si128());
  }
  static PUNA_INLINE void store(std::byte* p, I v) { _mm_store_si128(reinterpret_cast<I*>(p), v); }
  static PUNA_INLINE I gather16(const std::byte* const* rows, std::size_t offset) { return splat16(rows[0] + offset); }
  static PUNA_INLINE I splat16(const void* p) { return _mm_loadu_si128(static_cast<const I*>(p)); }
  static PUNA_INLINE I splat4(const std::int8_t* p) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm_set1_epi32(word);
  }
  static PUNA_INLINE I zero() { return _mm_setzero_si128(); }
  static PUNA_INLINE I set8(int x) { return _mm_set1_epi8(static_cast<char>(x)); }
  static PUNA_INLINE I set32(std::int32_t x) { return _mm_set1_epi32(x); }
  static PUNA_INLINE I and_(I a, I b) { return _mm_and_si128(a, b); }
  static PUNA_INLINE I or_(I a, I b) { return _mm_or_si128(a, b); }
  static PUNA_INLINE I xor_(I a, I b) { return _mm_xor_si128(a, b); }
  static PUNA_INLINE I shr(I a, int n) { return _mm_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I shl(I a, int n) { return _mm_sll_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I sar(I a, int n) { return _mm_sra_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE void pin([[maybe_unused]] I& v) {
#if defined(__GNUC__)
    asm volatile("" : "+x"(v));
#endif
  }
  static PUNA_INLINE I add32(I a, I b) { return _mm_add_epi32(a, b); }
  static PUNA_INLINE I sub32(I a, I b) { return _mm_sub_epi32(a, b); }
  static PUNA_INLINE I equal8(I a, I b) { return _mm_cmpeq_epi8(a, b); }
  static I lookup16(I table, I index) {  // a loop, kept out of line for its size
    alignas(16) std::uint8_t t[16], i[16];
    _mm_store_si128(reinterpret_cast<I*>(t), table);
    _mm_store_si128(reinterpret_cast<I*>(i), index);
    for (int k = 0; k < 16; ++k) i[k] = t[i[k] & 15];
    return _mm_load_si128(reinterpret_cast<const I*>(i));
  }
  static PUNA_INLINE I low32(I a, I b) { return _mm_unpacklo_epi32(a, b); }
  static PUNA_INLINE I high32(I a, I b) { return _mm_unpackhi_epi32(a, b); }
  static PUNA_INLINE I low64(I a, I b) { return _mm_unpacklo_epi64(a, b); }
  static PUNA_INLINE I high64(I a, I b) { return _mm_unpackhi_epi64(a, b); }
  template <int N>
  static PUNA_INLINE I bytes_down(I a) { return _mm_srli_si128(a, N); }

  // ---- products of bytes ----
  static PUNA_INLINE I wide_low(I a) { return _mm_srai_epi16(_mm_unpacklo_epi8(a, a), 8); }
  static PUNA_INLINE I wide_high(I a) { return _mm_srai_epi16(_mm_unpackhi_epi8(a, a), 8); }
  static PUNA_INLINE __m128 pick(__m128 a, __m128 b, bool odd) {
    return odd ? _mm_shuffle_ps(a, b, 0xdd) : _mm_shuffle_ps(a, b, 0x88);
  }
  static PUNA_INLINE I add_pairs(I a, I b) {
    const __m128 x = _mm_castsi128_ps(a), y = _mm_castsi128_ps(b);
    return add32(_mm_castps_si128(pick(x, y, false)), _mm_castps_si128(pick(x, y, true)));
  }
  template <bool S>
  static PUNA_INLINE I dot(I acc, I w, I a) {
    const I low = _mm_madd_epi16(wide_low(w), wide_low(a));
    const I high = _mm_madd_epi16(wide_high(w), wide_high(a));
    return add32(acc, add_pairs(low, high));
  }
  static PUNA_INLINE I sums(I v0, I v1, I v2, I v3) { return add_pairs(add_pairs(v0, v1), add_pairs(v2, v3)); }

  // ---- floats ----
  static PUNA_INLINE F to_float(I a) { return F(_mm_cvtepi32_ps(a)); }
  static PUNA_INLINE F bits(I a) { return F(_mm_castsi128_ps(a)); }
  static PUNA_INLINE F half_lanes(I a) {
    // The bits moved into a float's place are the value times 2^-112, subnormals too; infinity and NaN get theirs.
    const I magnitude = and_(a, set32(0x7fff));
    const __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(shl(magnitude, 13)), _mm_set1_ps(0x1p112f));
    const I special = and_(_mm_cmpgt_epi32(magnitude, set32(0x7bff)), set32(0x7f800000));
    const I sign = shl(and_(a, set32(0x8000)), 16);
    return bits(or_(or_(_mm_castps_si128(scaled), special), sign));
  }
  static PUNA_INLINE F div(F a, F b) { return a / b; }
  static PUNA_INLINE F sqrt(F a) { return F(_mm_sqrt_ps(a)); }
  static PUNA_INLINE F fma(F a, F b, F c) { return F(_mm_add_ps(_mm_mul_ps(a, b), c)); }
  static PUNA_INLINE I load64(const void* p) { return _mm_loadl_epi64(static_cast<const I*>(p)); }
  static PUNA_INLINE F load_f32(const std::byte* p) { return F(_mm_loadu_ps(reinterpret_cast<const float*>(p))); }
  static PUNA_INLINE F load_f16(const std::byte* p) { return half_lanes(_mm_unpacklo_epi16(load64(p), zero())); }
  static PUNA_INLINE F load_bf16(const std::byte* p) { return bits(_mm_unpacklo_epi16(zero(), load64(p))); }
  static PUNA_INLINE F splat_half(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return half_lanes(set32(bits));
  }
  static PUNA_INLINE I load32(const std::byte* p) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm_cvtsi32_si128(word);
  }
  static PUNA_INLINE F wide_float(I bytes) {  // the first four
    const I twice = _mm_unpacklo_epi8(bytes, bytes);
    return to_float(_mm_srai_epi32(_mm_unpacklo_epi16(twice, twice), 24));
  }
  static PUNA_INLINE void wide_i8(const std::byte* p, I (&c)[4]) {
    const I low = splat16(p), high = splat16(p + 16);
    c[0] = wide_low(low), c[1] = wide_high(low), c[2] = wide_low(high), c[3] = wide_high(high);
  }
  static PUNA_INLINE void wide_nibbles(const std::byte* p, I (&c)[4]) {
    const I bytes = splat16(p);
    const I low = _mm_sub_epi8(and_(bytes, set8(15)), set8(8));
    const I high = _mm_sub_epi8(and_(_mm_srli_epi16(bytes, 4), set8(15)), set8(8));
    c[0] = wide_low(low), c[1] = wide_high(low), c[2] = wide_low(high), c[3] = wide_high(high);
  }
  static PUNA_INLINE I pairs32(I c, const std::int16_t* x) { return _mm_madd_epi16(c, splat16(x)); }
  static PUNA_INLINE F load_i8(const std::byte* p) { return wide_float(load32(p)); }
  template <bool High>
  static PUNA_INLINE F load_nibbles(const std::byte* p) {
    const I codes = and_(High ? _mm_srli_epi16(load32(p), 4) : load32(p), set8(15));
    return wide_float(_mm_sub_epi8(codes, set8(8)));
  }
  static PUNA_INLINE F load_part(const float* p, std::size_t n) {
    alignas(16) float part[4] = {};
    std::memcpy(part, p, n * sizeof(float));
    return F(_mm_load_ps(part));
  }
  static PUNA_INLINE void store_part(float* p, F v, std::size_t n) {
    alignas(16) float part[4];
    _mm_store_ps(part, v);
    std::memcpy(p, part, n * sizeof(float));
  }
  static PUNA_INLINE void store_half(Half* p, F v) {
    alignas(16) float part[4];
    _mm_store_ps(part, v);
    for (int i = 0; i < 4; ++i) p[i] = to_half(part[i]);  // this unit has the library's own flags: nothing to leak
  }
  static PUNA_INLINE __m128 add_pairs(__m128 a, __m128 b) { return _mm_add_ps(pick(a, b, false), pick(a, b, true)); }
  static PUNA_INLINE void sum4(F a, F b, F c, F d, float* out) {
    _mm_storeu_ps(out, add_pairs(add_pairs(a, b), add_pairs(c, d)));
  }
  static PUNA_INLINE void prefetch_once(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_NTA); }
  static PUNA_INLINE void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace puna
