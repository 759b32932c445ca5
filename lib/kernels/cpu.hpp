// What the processor and the operating system allow, asked once.
#pragma once

#include <cstdint>

namespace puna {

enum class Vendor : std::uint8_t { other, intel, amd };

struct Cpu {
  Vendor vendor = Vendor::other;
  std::uint32_t family = 0;
  std::uint32_t model = 0;
  bool avx2 = false;         // with FMA, F16C, BMI, BMI2, and ymm state kept by the system
  bool avx_vnni = false;
  bool avx512 = false;       // F, CD, DQ, BW, VL, and zmm state kept
  bool avx512_vnni = false;
  bool neon = false;
  bool dotprod = false;
};

Cpu detect_cpu();

}  // namespace puna
