// 512-bit registers: AVX-512 F, CD, DQ, BW, VL, and VNNI where the unit is compiled for it.
#pragma once

#include <immintrin.h>

#include "kernels/impl/simd.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 says both of its own intrinsics (bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace puna {
namespace {

struct Avx512 {
  using Arch = xsimd::avx512bw;
  using F = xsimd::batch<float, Arch>;
  using I = __m512i;
  static constexpr int lanes = 16;
  static constexpr int panel_groups = 2;
  static constexpr int panel_tokens = 6;
  static constexpr int tile_rows = 4;
  static constexpr int tile_tokens = 6;
#if defined(__AVX512VNNI__)
  static constexpr bool unsigned_weights = true;
  static constexpr bool sums_16bit = false;
#else
  static constexpr bool unsigned_weights = false;
  static constexpr bool sums_16bit = true;
#endif

  static PUNA_INLINE I load(const std::byte* p) { return _mm512_load_si512(p); }
  static PUNA_INLINE I loadu(const std::byte* p) { return _mm512_loadu_si512(p); }
  static PUNA_INLINE I load_u16(const std::byte* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static PUNA_INLINE void store(std::byte* p, I v) { _mm512_store_si512(p, v); }
  static PUNA_INLINE __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static PUNA_INLINE I gather16(const std::byte* const* rows, std::size_t offset) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(rows[0] + offset)),
                                                load128(rows[4] + offset), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(rows[8] + offset)),
                                                 load128(rows[12] + offset), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  static PUNA_INLINE I splat16(const void* p) { return _mm512_broadcast_i32x4(load128(p)); }
  static PUNA_INLINE I splat4(const std::int8_t* p) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm512_set1_epi32(word);
  }
  static PUNA_INLINE I zero() { return _mm512_setzero_si512(); }
  static PUNA_INLINE I set8(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static PUNA_INLINE I set32(std::int32_t x) { return _mm512_set1_epi32(x); }
  static PUNA_INLINE I and_(I a, I b) { return _mm512_and_si512(a, b); }
  static PUNA_INLINE I or_(I a, I b) { return _mm512_or_si512(a, b); }
  static PUNA_INLINE I xor_(I a, I b) { return _mm512_xor_si512(a, b); }
  static PUNA_INLINE I shr(I a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I shl(I a, int n) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I sar(I a, int n) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE void pin([[maybe_unused]] I& v) {
#if defined(__GNUC__)
    asm volatile("" : "+v"(v));
#endif
  }
  static PUNA_INLINE I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static PUNA_INLINE I sub32(I a, I b) { return _mm512_sub_epi32(a, b); }
  static PUNA_INLINE I equal8(I a, I b) { return _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(a, b)); }
  static PUNA_INLINE I lookup16(I table, I index) { return _mm512_shuffle_epi8(table, index); }
  static PUNA_INLINE I low32(I a, I b) { return _mm512_unpacklo_epi32(a, b); }
  static PUNA_INLINE I high32(I a, I b) { return _mm512_unpackhi_epi32(a, b); }
  static PUNA_INLINE I low64(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
  static PUNA_INLINE I high64(I a, I b) { return _mm512_unpackhi_epi64(a, b); }
  template <int N>
  static PUNA_INLINE I bytes_down(I a) { return _mm512_bsrli_epi128(a, N); }

  // ---- products of bytes ----
  static PUNA_INLINE I pairs16(I w, I a) { return _mm512_maddubs_epi16(w, a); }
  static PUNA_INLINE I add16(I a, I b) { return _mm512_add_epi16(a, b); }
  static PUNA_INLINE I widen16(I a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
  template <bool S>
  static PUNA_INLINE I dot(I acc, I w, I a) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(acc, w, a);
#else
    if constexpr (S) {  // as on AVX2, with a mask in place of vpsignb; where w is 0 the sign does not matter
      const I signed_a = _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), zero(), a);
      return add32(acc, widen16(pairs16(_mm512_abs_epi8(w), signed_a)));
    } else {
      return add32(acc, widen16(pairs16(w, a)));
    }
#endif
  }
  static PUNA_INLINE __m512 pick(__m512 a, __m512 b, bool odd) {
    return odd ? _mm512_shuffle_ps(a, b, 0xdd) : _mm512_shuffle_ps(a, b, 0x88);
  }
  static PUNA_INLINE I add_pairs(I a, I b) {
    const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
    return add32(_mm512_castps_si512(pick(x, y, false)), _mm512_castps_si512(pick(x, y, true)));
  }
  static PUNA_INLINE I sums(I v0, I v1, I v2, I v3) { return add_pairs(add_pairs(v0, v1), add_pairs(v2, v3)); }

  // ---- floats ----
  static PUNA_INLINE F to_float(I a) { return F(_mm512_cvtepi32_ps(a)); }
  static PUNA_INLINE F bits(I a) { return F(_mm512_castsi512_ps(a)); }
  static PUNA_INLINE F half_lanes(I a) { return F(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a))); }
  static PUNA_INLINE F div(F a, F b) { return a / b; }
  static PUNA_INLINE F sqrt(F a) { return F(_mm512_sqrt_ps(a)); }
  static PUNA_INLINE F fma(F a, F b, F c) { return F(_mm512_fmadd_ps(a, b, c)); }
  static PUNA_INLINE __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static PUNA_INLINE F load_f32(const std::byte* p) { return F(_mm512_loadu_ps(p)); }
  static PUNA_INLINE F load_f16(const std::byte* p) { return F(_mm512_cvtph_ps(load256(p))); }
  static PUNA_INLINE F load_bf16(const std::byte* p) {
    return F(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16)));
  }
  static PUNA_INLINE F splat_half(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return F(_mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))));
  }
  static PUNA_INLINE void wide_i8(const std::byte* p, I (&c)[1]) { c[0] = _mm512_cvtepi8_epi16(load256(p)); }
  static PUNA_INLINE void wide_nibbles(const std::byte* p, I (&c)[1]) {
    const __m128i bytes = load128(p);
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
    c[0] = _mm512_cvtepi8_epi16(_mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8)));
  }
  static PUNA_INLINE I pairs32(I c, const std::int16_t* x) { return _mm512_madd_epi16(c, _mm512_loadu_si512(x)); }
  static PUNA_INLINE F load_i8(const std::byte* p) { return to_float(_mm512_cvtepi8_epi32(load128(p))); }
  template <bool High>
  static PUNA_INLINE F load_nibbles(const std::byte* p) {
    const __m128i codes = _mm_and_si128(High ? _mm_srli_epi16(load128(p), 4) : load128(p), _mm_set1_epi8(15));
    return to_float(_mm512_cvtepi8_epi32(_mm_sub_epi8(codes, _mm_set1_epi8(8))));
  }
  static PUNA_INLINE __mmask16 mask(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static PUNA_INLINE F load_part(const float* p, std::size_t n) { return F(_mm512_maskz_loadu_ps(mask(n), p)); }
  static PUNA_INLINE void store_part(float* p, F v, std::size_t n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static PUNA_INLINE void store_half(Half* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static PUNA_INLINE __m512 add_pairs(__m512 a, __m512 b) { return _mm512_add_ps(pick(a, b, false), pick(a, b, true)); }
  static PUNA_INLINE void sum4(F a, F b, F c, F d, float* out) {
    const __m512 t = add_pairs(add_pairs(a, b), add_pairs(c, d));
    const __m256 u = _mm256_add_ps(_mm512_castps512_ps256(t), _mm512_extractf32x8_ps(t, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1)));
  }
  static PUNA_INLINE void prefetch_once(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_NTA); }
  static PUNA_INLINE void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace puna
