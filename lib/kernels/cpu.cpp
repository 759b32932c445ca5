#include "kernels/cpu.hpp"

#include <cstring>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define PUNA_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

namespace puna {
namespace {

#if defined(PUNA_X86)

struct Leaf {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Leaf out;
#if defined(_MSC_VER)
  int r[4];
  __cpuid(r, 0);
  if (leaf > static_cast<std::uint32_t>(r[0])) return out;
  __cpuidex(r, static_cast<int>(leaf), static_cast<int>(subleaf));
  out = {static_cast<std::uint32_t>(r[0]), static_cast<std::uint32_t>(r[1]), static_cast<std::uint32_t>(r[2]),
         static_cast<std::uint32_t>(r[3])};
#else
  if (!__get_cpuid_count(leaf, subleaf, &out.a, &out.b, &out.c, &out.d)) out = {};
#endif
  return out;
}

// Which register files the operating system saves. Only legal to ask when OSXSAVE is set.
std::uint64_t saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
#endif
}

constexpr bool bit(std::uint32_t word, int n) { return (word >> n & 1u) != 0; }

void detect_family(Cpu& cpu) {
  const Leaf zero = cpuid(0, 0);
  char vendor[13] = {};
  std::memcpy(vendor, &zero.b, 4);
  std::memcpy(vendor + 4, &zero.d, 4);
  std::memcpy(vendor + 8, &zero.c, 4);
  if (std::strcmp(vendor, "GenuineIntel") == 0) cpu.vendor = Vendor::intel;
  if (std::strcmp(vendor, "AuthenticAMD") == 0) cpu.vendor = Vendor::amd;
  const std::uint32_t signature = cpuid(1, 0).a;
  cpu.family = signature >> 8 & 15u;
  cpu.model = signature >> 4 & 15u;
  if (cpu.family == 6 || cpu.family == 15) cpu.model |= (signature >> 16 & 15u) << 4;
  if (cpu.family == 15) cpu.family += signature >> 20 & 255u;
}

void detect_features(Cpu& cpu) {
  const Leaf one = cpuid(1, 0);
  if (!bit(one.c, 27)) return;  // OSXSAVE
  const std::uint64_t state = saved_state();
  const Leaf seven = cpuid(7, 0);
  const Leaf seven_one = seven.a >= 1 ? cpuid(7, 1) : Leaf{};
  const bool ymm = (state & 0x06) == 0x06;
  const bool zmm = (state & 0xe6) == 0xe6;
  const bool avx_fma_f16c = bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29);
  cpu.avx2 = ymm && avx_fma_f16c && bit(seven.b, 5) && bit(seven.b, 3) && bit(seven.b, 8);
  cpu.avx_vnni = cpu.avx2 && bit(seven_one.a, 4);
  cpu.avx512 = cpu.avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 28) && bit(seven.b, 30) &&
               bit(seven.b, 31);
  cpu.avx512_vnni = cpu.avx512 && bit(seven.c, 11);
}

#endif

}  // namespace

Cpu detect_cpu() {
  Cpu cpu;
#if defined(PUNA_X86)
  detect_family(cpu);
  detect_features(cpu);
#elif defined(__aarch64__) && defined(__linux__)
  cpu.neon = true;
  cpu.dotprod = (getauxval(AT_HWCAP) >> 20 & 1u) != 0;  // HWCAP_ASIMDDP
#elif defined(__aarch64__) && defined(__APPLE__)
  cpu.neon = true;
  int value = 0;
  std::size_t size = sizeof value;
  cpu.dotprod = sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value != 0;
#elif defined(_M_ARM64)
  cpu.neon = true;
  cpu.dotprod = IsProcessorFeaturePresent(43) != 0;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
#elif defined(__aarch64__)
  cpu.neon = true;
#endif
  return cpu;
}

}  // namespace puna
