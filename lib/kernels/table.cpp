#include "puna/kernels/table.hpp"

#include <cstdlib>
#include <string>

#include "kernels/cpu.hpp"
#include "kernels/tables.hpp"
#include "puna/base/status.hpp"

namespace puna {
namespace {

const Cpu& cpu() {
  static const Cpu found = detect_cpu();
  return found;
}

struct Path {
  Isa isa;
  const Kernels* kernels;
  bool (*runs)(const Cpu&);
};

// What this build has, weakest first.
constexpr Path paths[] = {
    {Isa::reference, &kernels_reference, [](const Cpu&) { return true; }},
#if defined(PUNA_HAVE_ISA_BASELINE) && defined(PUNA_BASELINE_IS_SSE2)
    {Isa::baseline, &kernels_baseline, [](const Cpu&) { return true; }},
#endif
#if defined(PUNA_HAVE_ISA_AVX2)
    {Isa::avx2, &kernels_avx2, [](const Cpu& c) { return c.avx2; }},
#endif
#if defined(PUNA_HAVE_ISA_AVXVNNI)
    {Isa::avx_vnni, &kernels_avxvnni, [](const Cpu& c) { return c.avx_vnni; }},
#endif
#if defined(PUNA_HAVE_ISA_AVX512)
    {Isa::avx512, &kernels_avx512, [](const Cpu& c) { return c.avx512; }},
#endif
#if defined(PUNA_HAVE_ISA_AVX512VNNI)
    {Isa::avx512_vnni, &kernels_avx512vnni, [](const Cpu& c) { return c.avx512_vnni; }},
#endif
#if defined(PUNA_HAVE_ISA_NEON)
    {Isa::neon, &kernels_neon, [](const Cpu& c) { return c.neon; }},
#endif
#if defined(PUNA_HAVE_ISA_NEON_DOTPROD)
    {Isa::neon_dotprod, &kernels_neon_dotprod, [](const Cpu& c) { return c.dotprod; }},
#endif
};
constexpr std::size_t path_count = sizeof paths / sizeof paths[0];

// Where a processor could take several paths, the one that was measured to be best on its family.
struct Choice {
  Vendor vendor;
  std::uint32_t family;
  std::uint32_t model_first, model_last;
  Isa isa;
};
constexpr Choice choices[] = {
    {Vendor::amd, 0x1a, 0x00, 0xff, Isa::avx512_vnni},  // Zen 5: twice the int8 and fp32 rate of its 256-bit paths
};

// Without a measurement: 512 bits only together with VNNI, since the cores that have AVX-512 but no VNNI (Skylake-X)
// lower their clock for it.
Isa choose(const Cpu& c) {
  for (const Choice& choice : choices)
    if (c.vendor == choice.vendor && c.family == choice.family && c.model >= choice.model_first &&
        c.model <= choice.model_last && kernels_for(choice.isa))
      return choice.isa;
  Isa best = Isa::reference;
  for (const Path& path : paths)
    if (path.runs(c) && path.isa != Isa::avx512) best = path.isa;
  return best;
}

std::string names_of_available() {
  std::string out;
  for (const Isa isa : available_isas()) out.append(out.empty() ? "" : ", ").append(isa_name(isa));
  return out;
}

const Kernels& select() {
  const char* forced = std::getenv("PUNA_FORCE_ISA");
  if (!forced || !*forced) return *kernels_for(choose(cpu()));
  for (const Isa isa : available_isas())
    if (isa_name(isa) == forced) return *kernels_for(isa);
  fail(Code::unsupported,
       "PUNA_FORCE_ISA=" + std::string(forced) + " cannot run here; possible: " + names_of_available());
}

}  // namespace

const Kernels* kernels_for(Isa isa) {
  for (const Path& path : paths)
    if (path.isa == isa) return path.runs(cpu()) ? path.kernels : nullptr;
  return nullptr;
}

const Kernels& machine_kernels() {
  static const Kernels& selected = select();
  return selected;
}

std::span<const Isa> available_isas() {
  struct List {
    Isa isas[path_count] = {};
    std::size_t count = 0;
  };
  static const List list = [] {
    List out;
    for (const Path& path : paths)
      if (path.runs(cpu())) out.isas[out.count++] = path.isa;
    return out;
  }();
  return {list.isas, list.count};
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::reference: return "reference";
    case Isa::baseline: return "baseline";
    case Isa::avx2: return "avx2";
    case Isa::avx_vnni: return "avxvnni";
    case Isa::avx512: return "avx512";
    case Isa::avx512_vnni: return "avx512vnni";
    case Isa::neon: return "neon";
    case Isa::neon_dotprod: return "neon_dotprod";
  }
  return "unknown";
}

}  // namespace puna
