// 256-bit registers: AVX2 + FMA + F16C, and AVX-VNNI where the unit is compiled for it.
#pragma once

#include <immintrin.h>

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

alignas(64) constexpr std::int32_t tail_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

struct Avx2 {
  using Arch = xsimd::fma3<xsimd::avx2>;
  using F = xsimd::batch<float, Arch>;
  using I = __m256i;
  static constexpr int lanes = 8;
  static constexpr int panel_groups = 2;   // registers: an f32 and an integer sum for each group and token
  static constexpr int panel_tokens = 3;
  static constexpr int tile_rows = 4;      // of a float tile
  static constexpr int tile_tokens = 3;
#if defined(__AVXVNNI__)
  static constexpr bool unsigned_weights = true;  // signed codes are stored +128
  static constexpr bool sums_16bit = false;
#else
  static constexpr bool unsigned_weights = false;
  static constexpr bool sums_16bit = true;  // products of small codes are added in 16 bits first
#endif

  static PUNA_INLINE __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static PUNA_INLINE I load(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static PUNA_INLINE I loadu(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static PUNA_INLINE I load_u16(const std::byte* p) { return _mm256_cvtepu16_epi32(load128(p)); }
  static PUNA_INLINE void store(std::byte* p, I v) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); }
  static PUNA_INLINE I gather16(const std::byte* const* rows, std::size_t offset) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(rows[0] + offset)), load128(rows[4] + offset), 1);
  }
  static PUNA_INLINE I splat16(const void* p) { return _mm256_broadcastsi128_si256(load128(p)); }
  static PUNA_INLINE I splat4(const std::int8_t* p) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return _mm256_set1_epi32(word);
  }
  static PUNA_INLINE I zero() { return _mm256_setzero_si256(); }
  static PUNA_INLINE I set8(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static PUNA_INLINE I set32(std::int32_t x) { return _mm256_set1_epi32(x); }
  static PUNA_INLINE I and_(I a, I b) { return _mm256_and_si256(a, b); }
  static PUNA_INLINE I or_(I a, I b) { return _mm256_or_si256(a, b); }
  static PUNA_INLINE I xor_(I a, I b) { return _mm256_xor_si256(a, b); }
  static PUNA_INLINE I shr(I a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I shl(I a, int n) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE I sar(I a, int n) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(n)); }
  static PUNA_INLINE void pin([[maybe_unused]] I& v) {
#if defined(__GNUC__)
    asm volatile("" : "+x"(v));
#endif
  }
  static PUNA_INLINE I add32(I a, I b) { return _mm256_add_epi32(a, b); }
  static PUNA_INLINE I sub32(I a, I b) { return _mm256_sub_epi32(a, b); }
  static PUNA_INLINE I equal8(I a, I b) { return _mm256_cmpeq_epi8(a, b); }
  static PUNA_INLINE I lookup16(I table, I index) { return _mm256_shuffle_epi8(table, index); }
  static PUNA_INLINE I low32(I a, I b) { return _mm256_unpacklo_epi32(a, b); }
  static PUNA_INLINE I high32(I a, I b) { return _mm256_unpackhi_epi32(a, b); }
  static PUNA_INLINE I low64(I a, I b) { return _mm256_unpacklo_epi64(a, b); }
  static PUNA_INLINE I high64(I a, I b) { return _mm256_unpackhi_epi64(a, b); }
  template <int N>
  static PUNA_INLINE I bytes_down(I a) { return _mm256_srli_si256(a, N); }

  // ---- products of bytes ----
  static PUNA_INLINE I pairs16(I w, I a) { return _mm256_maddubs_epi16(w, a); }
  static PUNA_INLINE I add16(I a, I b) { return _mm256_add_epi16(a, b); }
  static PUNA_INLINE I widen16(I a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
  template <bool S>
  static PUNA_INLINE I dot(I acc, I w, I a) {
#if defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(acc, w, a);
#else
    // |w| * (a with w's sign): at most 2 * 128 * 127, so the 16-bit sums of pairs do not saturate.
    if constexpr (S) return add32(acc, widen16(pairs16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w))));
    else return add32(acc, widen16(pairs16(w, a)));
#endif
  }
  static PUNA_INLINE I sums(I v0, I v1, I v2, I v3) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(v0, v1), _mm256_hadd_epi32(v2, v3));
  }

  // ---- floats ----
  static PUNA_INLINE F to_float(I a) { return F(_mm256_cvtepi32_ps(a)); }
  static PUNA_INLINE F bits(I a) { return F(_mm256_castsi256_ps(a)); }
  static PUNA_INLINE F half_lanes(I a) {  // a half in each 32-bit lane
    const I packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, a), 0x08);
    return F(_mm256_cvtph_ps(_mm256_castsi256_si128(packed)));
  }
  static PUNA_INLINE F div(F a, F b) { return a / b; }
  static PUNA_INLINE F sqrt(F a) { return F(_mm256_sqrt_ps(a)); }
  static PUNA_INLINE F fma(F a, F b, F c) { return F(_mm256_fmadd_ps(a, b, c)); }
  static PUNA_INLINE F load_f32(const std::byte* p) { return F(_mm256_loadu_ps(reinterpret_cast<const float*>(p))); }
  static PUNA_INLINE F load_f16(const std::byte* p) { return F(_mm256_cvtph_ps(load128(p))); }
  static PUNA_INLINE F load_bf16(const std::byte* p) {
    return F(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16)));
  }
  static PUNA_INLINE F splat_half(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return F(_mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(bits))));
  }
  static PUNA_INLINE __m128i load64(const std::byte* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static PUNA_INLINE void wide_i8(const std::byte* p, I (&c)[2]) {
    c[0] = _mm256_cvtepi8_epi16(load128(p)), c[1] = _mm256_cvtepi8_epi16(load128(p + 16));
  }
  static PUNA_INLINE void wide_nibbles(const std::byte* p, I (&c)[2]) {
    const __m128i bytes = load128(p), mask = _mm_set1_epi8(15), offset = _mm_set1_epi8(8);
    c[0] = _mm256_cvtepi8_epi16(_mm_sub_epi8(_mm_and_si128(bytes, mask), offset));
    c[1] = _mm256_cvtepi8_epi16(_mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask), offset));
  }
  static PUNA_INLINE I pairs32(I c, const std::int16_t* x) {
    return _mm256_madd_epi16(c, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
  }
  static PUNA_INLINE F load_i8(const std::byte* p) { return to_float(_mm256_cvtepi8_epi32(load64(p))); }
  template <bool High>
  static PUNA_INLINE F load_nibbles(const std::byte* p) {
    const __m128i codes = _mm_and_si128(High ? _mm_srli_epi16(load64(p), 4) : load64(p), _mm_set1_epi8(15));
    return to_float(_mm256_cvtepi8_epi32(_mm_sub_epi8(codes, _mm_set1_epi8(8))));
  }
  static PUNA_INLINE __m256i mask(std::size_t n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tail_masks + 8 - n)); }
  static PUNA_INLINE F load_part(const float* p, std::size_t n) { return F(_mm256_maskload_ps(p, mask(n))); }
  static PUNA_INLINE void store_part(float* p, F v, std::size_t n) { _mm256_maskstore_ps(p, mask(n), v); }
  static PUNA_INLINE void store_half(Half* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  // The lanes of each, in one fixed order.
  static PUNA_INLINE void sum4(F a, F b, F c, F d, float* out) {
    const __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
  }
  static PUNA_INLINE void prefetch_once(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_NTA); }
  static PUNA_INLINE void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace puna
