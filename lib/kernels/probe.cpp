// Single instructions, not kernels: each function carries its own instruction set, so that one unit holds them all and
// none of them leaves it.
#include "puna/kernels/probe.hpp"

#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define PUNA_PROBE_X86 1
#elif defined(__aarch64__)
#include <arm_neon.h>
#define PUNA_PROBE_NEON 1
#endif

#if defined(__GNUC__) || defined(__clang__)
#define PUNA_TARGET(features) __attribute__((target(features)))
#define PUNA_FETCH(p) __builtin_prefetch((p), 0, 0)
#else
#define PUNA_TARGET(features)
#define PUNA_FETCH(p) (void)(p)
#endif

namespace puna {
namespace {

constexpr int chains = 12;             // latency times rate of every instruction here, within sixteen registers
constexpr std::size_t ahead = 4096;    // a fetch past the end is harmless

template <class V>
std::uint64_t folded(const V* values, int count) {
  std::uint64_t words[sizeof(V) / 8], sum = 0;
  for (int i = 0; i < count; ++i) {
    std::memcpy(words, values + i, sizeof(V));
    for (const std::uint64_t word : words) sum ^= word;
  }
  return sum;
}

// The same loops for every register type. Functions, not templates: a target belongs to a function.
#define PUNA_READ(NAME, TARGET, V, ZERO, STEP)                                                   \
  TARGET std::uint64_t NAME(const std::byte* data, std::size_t bytes) {                          \
    V sums[4] = {ZERO, ZERO, ZERO, ZERO};                                                        \
    for (std::size_t at = 0; at + sizeof sums <= bytes; at += sizeof sums) {                     \
      for (std::size_t line = 0; line < sizeof sums; line += 64) PUNA_FETCH(data + at + line + ahead); \
      for (std::size_t i = 0; i < 4; ++i) sums[i] = STEP(sums[i], data + at + i * sizeof(V));    \
    }                                                                                            \
    return folded(sums, 4);                                                                      \
  }
// Chains by name: of an array g++ 12 keeps a copy in memory.
#define PUNA_PEAK(NAME, TARGET, V, FILL, STEP)                                                      \
  TARGET std::uint64_t NAME(std::uint32_t rounds) {                                                 \
    volatile float seed = 0.5f; /* so that no chain is known to equal another */                                   \
    const V x = FILL(seed);                                                                         \
    V a = FILL(seed), b = FILL(seed), c = FILL(seed), d = FILL(seed), e = FILL(seed), f = FILL(seed); \
    V g = FILL(seed), h = FILL(seed), i = FILL(seed), j = FILL(seed), k = FILL(seed), l = FILL(seed); \
    for (std::uint32_t r = 0; r < rounds; ++r) {                                                    \
      a = STEP(a, x), b = STEP(b, x), c = STEP(c, x), d = STEP(d, x), e = STEP(e, x), f = STEP(f, x); \
      g = STEP(g, x), h = STEP(h, x), i = STEP(i, x), j = STEP(j, x), k = STEP(k, x), l = STEP(l, x); \
    }                                                                                               \
    const V sums[chains] = {a, b, c, d, e, f, g, h, i, j, k, l};                                    \
    return folded(sums, chains);                                                                    \
  }

inline std::uint64_t load64(const std::byte* p) {
  std::uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}
#define PUNA_STEP(sum, p) ((sum) ^ load64(p))
PUNA_READ(read_plain, , std::uint64_t, 0, PUNA_STEP)
#undef PUNA_STEP
#define PUNA_STEP(sum, x) ((sum) * (x) + (x))
#define PUNA_FILL(seed) (seed)
// A double is eight bytes, as folded() wants them.
PUNA_PEAK(multiply_add_plain, , double, PUNA_FILL, PUNA_STEP)
#undef PUNA_STEP
#undef PUNA_FILL
constexpr ProbeKernels plain = {read_plain, {{}, 0, nullptr}, {"multiply, add", 2 * chains, multiply_add_plain}};

#if PUNA_PROBE_X86
#define PUNA_XOR128(sum, p) _mm_xor_si128((sum), _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))
#define PUNA_FILL128(seed) _mm_castps_si128(_mm_set1_ps(seed))
#define PUNA_MADD128(sum, x) _mm_madd_epi16((sum), (x))
#define PUNA_FMA128(sum, x) _mm_add_ps(_mm_mul_ps((sum), (x)), (x))
PUNA_READ(read_sse2, PUNA_TARGET("sse2"), __m128i, _mm_setzero_si128(), PUNA_XOR128)
PUNA_PEAK(pmaddwd, PUNA_TARGET("sse2"), __m128i, PUNA_FILL128, PUNA_MADD128)
PUNA_PEAK(mulps_addps, PUNA_TARGET("sse2"), __m128, _mm_set1_ps, PUNA_FMA128)
constexpr ProbeKernels sse2 = {read_sse2, {"pmaddwd", 16 * chains, pmaddwd}, {"mulps, addps", 8 * chains, mulps_addps}};

#define PUNA_XOR256(sum, p) _mm256_xor_si256((sum), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))
#define PUNA_FILL256(seed) _mm256_castps_si256(_mm256_set1_ps(seed))
#define PUNA_MADD256(sum, x) _mm256_maddubs_epi16((sum), (x))
#define PUNA_FMA256(sum, x) _mm256_fmadd_ps((sum), (x), (x))
PUNA_READ(read_avx2, PUNA_TARGET("avx2,fma"), __m256i, _mm256_setzero_si256(), PUNA_XOR256)
PUNA_PEAK(vpmaddubsw, PUNA_TARGET("avx2,fma"), __m256i, PUNA_FILL256, PUNA_MADD256)
PUNA_PEAK(fma256, PUNA_TARGET("avx2,fma"), __m256, _mm256_set1_ps, PUNA_FMA256)
constexpr ProbeKernels avx2 = {read_avx2, {"vpmaddubsw ymm", 64 * chains, vpmaddubsw}, {"vfmadd ymm", 16 * chains, fma256}};

#if defined(PUNA_HAVE_ISA_AVXVNNI)
#define PUNA_DOT256(sum, x) _mm256_dpbusd_avx_epi32((sum), (x), (x))
PUNA_PEAK(vpdpbusd256, PUNA_TARGET("avx2,fma,avxvnni"), __m256i, PUNA_FILL256, PUNA_DOT256)
constexpr ProbeKernels avx_vnni = {read_avx2, {"vpdpbusd ymm", 64 * chains, vpdpbusd256}, avx2.fp32};
#endif

#if defined(PUNA_HAVE_ISA_AVX512)
#define PUNA_AVX512 "avx512f,avx512bw,avx512vl,avx512dq"
#define PUNA_XOR512(sum, p) _mm512_xor_si512((sum), _mm512_loadu_si512(p))
#define PUNA_FILL512(seed) _mm512_castps_si512(_mm512_set1_ps(seed))
#define PUNA_MADD512(sum, x) _mm512_maddubs_epi16((sum), (x))
#define PUNA_FMA512(sum, x) _mm512_fmadd_ps((sum), (x), (x))
PUNA_READ(read_avx512, PUNA_TARGET(PUNA_AVX512), __m512i, _mm512_setzero_si512(), PUNA_XOR512)
PUNA_PEAK(vpmaddubsw512, PUNA_TARGET(PUNA_AVX512), __m512i, PUNA_FILL512, PUNA_MADD512)
PUNA_PEAK(fma512, PUNA_TARGET(PUNA_AVX512), __m512, _mm512_set1_ps, PUNA_FMA512)
constexpr ProbeKernels avx512 = {read_avx512, {"vpmaddubsw zmm", 128 * chains, vpmaddubsw512}, {"vfmadd zmm", 32 * chains, fma512}};
#endif
#if defined(PUNA_HAVE_ISA_AVX512VNNI)
#define PUNA_DOT512(sum, x) _mm512_dpbusd_epi32((sum), (x), (x))
PUNA_PEAK(vpdpbusd512, PUNA_TARGET(PUNA_AVX512 ",avx512vnni"), __m512i, PUNA_FILL512, PUNA_DOT512)
constexpr ProbeKernels avx512_vnni = {read_avx512, {"vpdpbusd zmm", 128 * chains, vpdpbusd512}, avx512.fp32};
#endif
#endif  // PUNA_PROBE_X86

#if PUNA_PROBE_NEON
#define PUNA_XOR_NEON(sum, p) veorq_u8((sum), vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)))
#define PUNA_FILL_S8(seed) vreinterpretq_s8_f32(vdupq_n_f32(seed))
#define PUNA_MLAL(sum, x) vreinterpretq_s8_s16(vmlal_s8(vreinterpretq_s16_s8(sum), vget_low_s8(x), vget_high_s8(x)))
#define PUNA_FMA_NEON(sum, x) vfmaq_f32((sum), (x), (x))
PUNA_READ(read_neon, , uint8x16_t, vdupq_n_u8(0), PUNA_XOR_NEON)
PUNA_PEAK(smlal, , int8x16_t, PUNA_FILL_S8, PUNA_MLAL)
PUNA_PEAK(fmla, , float32x4_t, vdupq_n_f32, PUNA_FMA_NEON)
constexpr ProbeKernels neon = {read_neon, {"smlal", 16 * chains, smlal}, {"fmla", 8 * chains, fmla}};

#if defined(PUNA_HAVE_ISA_NEON_DOTPROD)
#if defined(__clang__)
#define PUNA_DOTPROD PUNA_TARGET("dotprod")
#else
#define PUNA_DOTPROD PUNA_TARGET("arch=armv8.2-a+dotprod")
#endif
#define PUNA_SDOT(sum, x) vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), (x), (x)))
PUNA_PEAK(sdot, PUNA_DOTPROD, int8x16_t, PUNA_FILL_S8, PUNA_SDOT)
constexpr ProbeKernels neon_dotprod = {read_neon, {"sdot", 32 * chains, sdot}, neon.fp32};
#endif
#endif  // PUNA_PROBE_NEON

}  // namespace

const ProbeKernels& probe_kernels(Isa isa) {
  switch (isa) {
#if PUNA_PROBE_X86
    case Isa::baseline: return sse2;
    case Isa::avx2: return avx2;
#if defined(PUNA_HAVE_ISA_AVXVNNI)
    case Isa::avx_vnni: return avx_vnni;
#endif
#if defined(PUNA_HAVE_ISA_AVX512)
    case Isa::avx512: return avx512;
#endif
#if defined(PUNA_HAVE_ISA_AVX512VNNI)
    case Isa::avx512_vnni: return avx512_vnni;
#endif
#endif
#if PUNA_PROBE_NEON
    case Isa::neon: return neon;
#if defined(PUNA_HAVE_ISA_NEON_DOTPROD)
    case Isa::neon_dotprod: return neon_dotprod;
#endif
#endif
    default: return plain;
  }
}

}  // namespace puna
