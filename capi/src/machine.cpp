// puna_machine_probe.
#include <algorithm>
#include <string>

#include "border.hpp"
#include "handles.hpp"
#include "puna/infer/probe.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

void put(std::string_view text, char (&out)[32]) { std::copy_n(text.data(), std::min(text.size(), sizeof out - 1), out); }

}  // namespace

extern "C" {

int32_t PUNA_CALL puna_machine_probe(puna_runtime* runtime, const puna_model* model, uint32_t figures, double max_ms,
                                     puna_machine_speed* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    if (runtime && model) fail(Code::argument, "a model is measured by its own runtime: runtime must be NULL");
    constexpr uint32_t all = PUNA_PROBE_READ | PUNA_PROBE_INT8 | PUNA_PROBE_FP32;
    if (figures & ~all) fail(Code::unsupported, "figures is " + std::to_string(figures) + ", with bits that this library does not know");
    if (!(max_ms > 0 && max_ms <= 60'000)) fail(Code::argument, "max_ms is " + std::to_string(max_ms) + ", not above 0 and up to 60000");
    const puna::Model* m = model ? model->ref.get() : nullptr;
    const puna::RuntimeRef ref = m ? m->runtime() : runtime ? runtime->ref : std::make_shared<puna::Runtime>();
    const uint32_t wanted = figures ? figures : all;
    const puna::ProbeFigures choice{(wanted & PUNA_PROBE_READ) != 0, (wanted & PUNA_PROBE_INT8) != 0, (wanted & PUNA_PROBE_FP32) != 0};
    const puna::MachineSpeed found = puna::probe_machine(*ref, m, max_ms / 1e3, choice);
    puna_machine_speed speed{};
    speed.threads = static_cast<int32_t>(found.threads);
    speed.read_bytes = found.read_bytes;
    speed.int8_operations = found.int8_ops;
    speed.fp32_operations = found.fp32_ops;
    put(found.int8_instruction, speed.int8_instruction);
    put(found.fp32_instruction, speed.fp32_instruction);
    capi::write_output(out, size, speed, "out");
  });
}

}  // extern "C"
