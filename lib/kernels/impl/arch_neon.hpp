// 128-bit registers of AArch64, with the dot product instruction where the unit is compiled for it.
#pragma once

#include <arm_neon.h>

#include "kernels/impl/simd.hpp"

namespace puna {
namespace {

struct Neon {
  using Arch = xsimd::neon64;
  using F = xsimd::batch<float, Arch>;
  using I = int32x4_t;
  static constexpr int lanes = 4;
  static constexpr int panel_groups = 2;
  static constexpr int panel_tokens = 6;
  static constexpr int tile_rows = 4;
  static constexpr int tile_tokens = 4;
  static constexpr bool unsigned_weights = false;
  static constexpr bool sums_16bit = false;

  static PUNA_INLINE int8x16_t s8(I a) { return vreinterpretq_s8_s32(a); }
  static PUNA_INLINE uint8x16_t u8(I a) { return vreinterpretq_u8_s32(a); }
  static PUNA_INLINE int64x2_t s64(I a) { return vreinterpretq_s64_s32(a); }
  static PUNA_INLINE uint32x4_t u32(I a) { return vreinterpretq_u32_s32(a); }
  static PUNA_INLINE I load(const std::byte* p) { return splat16(p); }
  static PUNA_INLINE I loadu(const std::byte* p) { return splat16(p); }
  static PUNA_INLINE I load_u16(const std::byte* p) {
    return vreinterpretq_s32_u32(vmovl_u16(vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p)))));
  }
  static PUNA_INLINE void store(std::byte* p, I v) { vst1q_u8(reinterpret_cast<std::uint8_t*>(p), u8(v)); }
  static PUNA_INLINE I gather16(const std::byte* const* rows, std::size_t offset) { return splat16(rows[0] + offset); }
  static PUNA_INLINE I splat16(const void* p) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p))); }
  static PUNA_INLINE I splat4(const std::int8_t* p) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    return vdupq_n_s32(word);
  }
  static PUNA_INLINE I zero() { return vdupq_n_s32(0); }
  static PUNA_INLINE I set8(int x) { return vreinterpretq_s32_s8(vdupq_n_s8(static_cast<std::int8_t>(x))); }
  static PUNA_INLINE I set32(std::int32_t x) { return vdupq_n_s32(x); }
  static PUNA_INLINE I and_(I a, I b) { return vandq_s32(a, b); }
  static PUNA_INLINE I or_(I a, I b) { return vorrq_s32(a, b); }
  static PUNA_INLINE I xor_(I a, I b) { return veorq_s32(a, b); }
  static PUNA_INLINE I shr(I a, int n) { return vreinterpretq_s32_u32(vshlq_u32(u32(a), vdupq_n_s32(-n))); }
  static PUNA_INLINE I shl(I a, int n) { return vshlq_s32(a, vdupq_n_s32(n)); }
  static PUNA_INLINE I sar(I a, int n) { return vshlq_s32(a, vdupq_n_s32(-n)); }
  static PUNA_INLINE void pin([[maybe_unused]] I& v) {
#if defined(__GNUC__)
    asm volatile("" : "+w"(v));
#endif
  }
  static PUNA_INLINE I add32(I a, I b) { return vaddq_s32(a, b); }
  static PUNA_INLINE I sub32(I a, I b) { return vsubq_s32(a, b); }
  static PUNA_INLINE I equal8(I a, I b) { return vreinterpretq_s32_u8(vceqq_u8(u8(a), u8(b))); }
  static PUNA_INLINE I lookup16(I table, I index) { return vreinterpretq_s32_s8(vqtbl1q_s8(s8(table), u8(index))); }
  static PUNA_INLINE I low32(I a, I b) { return vzip1q_s32(a, b); }
  static PUNA_INLINE I high32(I a, I b) { return vzip2q_s32(a, b); }
  static PUNA_INLINE I low64(I a, I b) { return vreinterpretq_s32_s64(vzip1q_s64(s64(a), s64(b))); }
  static PUNA_INLINE I high64(I a, I b) { return vreinterpretq_s32_s64(vzip2q_s64(s64(a), s64(b))); }
  template <int N>
  static PUNA_INLINE I bytes_down(I a) { return vreinterpretq_s32_u8(vextq_u8(u8(a), vdupq_n_u8(0), N)); }

  // ---- products of bytes ----
  template <bool S>
  static PUNA_INLINE I dot(I acc, I w, I a) {  // codes of 0..63 are the same bytes signed or not
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, s8(w), s8(a));
#else
    const int16x8_t low = vmull_s8(vget_low_s8(s8(w)), vget_low_s8(s8(a)));
    const int16x8_t high = vmull_high_s8(s8(w), s8(a));
    return vpadalq_s16(acc, vpaddq_s16(low, high));
#endif
  }
  static PUNA_INLINE I sums(I v0, I v1, I v2, I v3) { return vpaddq_s32(vpaddq_s32(v0, v1), vpaddq_s32(v2, v3)); }

  // ---- floats ----
  static PUNA_INLINE F to_float(I a) { return F(vcvtq_f32_s32(a)); }
  static PUNA_INLINE F bits(I a) { return F(vreinterpretq_f32_s32(a)); }
  static PUNA_INLINE F half_lanes(I a) { return F(vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32(a)))); }
  static PUNA_INLINE F div(F a, F b) { return F(vdivq_f32(a, b)); }  // xsimd 8.1 estimates a reciprocal
  static PUNA_INLINE F sqrt(F a) { return F(vsqrtq_f32(a)); }
  static PUNA_INLINE F fma(F a, F b, F c) { return F(vfmaq_f32(c, a, b)); }
  static PUNA_INLINE F load_f32(const std::byte* p) {
    return F(vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(p))));
  }
  static PUNA_INLINE uint8x8_t load64(const std::byte* p) { return vld1_u8(reinterpret_cast<const std::uint8_t*>(p)); }
  static PUNA_INLINE F load_f16(const std::byte* p) { return F(vcvt_f32_f16(vreinterpret_f16_u8(load64(p)))); }
  static PUNA_INLINE F load_bf16(const std::byte* p) {
    return F(vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(load64(p)), 16)));
  }
  static PUNA_INLINE F splat_half(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return F(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))));
  }
  static PUNA_INLINE int8x8_t load32(const std::byte* p) {
    std::uint32_t word;
    std::memcpy(&word, p, 4);
    return vreinterpret_s8_u32(vdup_n_u32(word));
  }
  static PUNA_INLINE F wide_float(int8x8_t bytes) { return to_float(vmovl_s16(vget_low_s16(vmovl_s8(bytes)))); }
  static PUNA_INLINE void wide(int8x16_t low, int8x16_t high, I (&c)[4]) {
    c[0] = vreinterpretq_s32_s16(vmovl_s8(vget_low_s8(low))), c[1] = vreinterpretq_s32_s16(vmovl_high_s8(low));
    c[2] = vreinterpretq_s32_s16(vmovl_s8(vget_low_s8(high))), c[3] = vreinterpretq_s32_s16(vmovl_high_s8(high));
  }
  static PUNA_INLINE void wide_i8(const std::byte* p, I (&c)[4]) { wide(s8(splat16(p)), s8(splat16(p + 16)), c); }
  static PUNA_INLINE void wide_nibbles(const std::byte* p, I (&c)[4]) {
    const uint8x16_t bytes = u8(splat16(p));
    const int8x16_t offset = vdupq_n_s8(8);
    wide(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))), offset),
         vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), offset), c);
  }
  static PUNA_INLINE I pairs32(I c, const std::int16_t* x) {
    const int16x8_t a = vreinterpretq_s16_s32(c), b = vld1q_s16(x);
    return vmlal_high_s16(vmull_s16(vget_low_s16(a), vget_low_s16(b)), a, b);
  }
  static PUNA_INLINE F load_i8(const std::byte* p) { return wide_float(load32(p)); }
  template <bool High>
  static PUNA_INLINE F load_nibbles(const std::byte* p) {
    const uint8x8_t bytes = vreinterpret_u8_s8(load32(p));
    const uint8x8_t codes = High ? vshr_n_u8(bytes, 4) : vand_u8(bytes, vdup_n_u8(15));
    return wide_float(vsub_s8(vreinterpret_s8_u8(codes), vdup_n_s8(8)));
  }
  static PUNA_INLINE F load_part(const float* p, std::size_t n) {
    float part[4] = {};
    std::memcpy(part, p, n * sizeof(float));
    return F(vld1q_f32(part));
  }
  static PUNA_INLINE void store_part(float* p, F v, std::size_t n) {
    float part[4];
    vst1q_f32(part, v);
    std::memcpy(p, part, n * sizeof(float));
  }
  static PUNA_INLINE void store_half(Half* p, F v) {
    vst1_u16(reinterpret_cast<std::uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v)));
  }
  static PUNA_INLINE void sum4(F a, F b, F c, F d, float* out) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
  static PUNA_INLINE void prefetch_once(const std::byte* p) { prefetch(p); }
  static PUNA_INLINE void prefetch(const std::byte* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
  }
};

}  // namespace
}  // namespace puna
