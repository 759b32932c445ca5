// puna_runtime: the host's memory, threads and log.
#include "border.hpp"
#include "handles.hpp"
#include "puna/kernels/table.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

puna_runtime_options runtime_defaults() {
  puna_runtime_options o{};
  o.struct_size = sizeof o;
  o.spin_us = 50;
  return o;
}

puna::RuntimeOptions core_options(const puna_runtime_options& o) {
  if (o.threads < 0 || o.threads > 1024)
    fail(Code::argument, "options.threads is " + std::to_string(o.threads) + ", not in 0 to 1024");
  if (!o.allocate != !o.release) fail(Code::argument, "options.allocate and options.release go together");
  if (o.flags & ~PUNA_RUNTIME_PIN)
    fail(Code::unsupported, "options.flags is " + std::to_string(o.flags) + ", with bits that this library does not know");
  puna::RuntimeOptions r;
  r.pin = (o.flags & PUNA_RUNTIME_PIN) != 0;
  r.threads = static_cast<std::uint32_t>(o.threads);
  r.spin_us = std::min(o.spin_us, 1'000'000u);
  r.memory_limit = o.memory_limit;
  r.allocator = {o.allocator_user, o.allocate, o.release};
  r.tasks = {o.parallel_for, o.tasks_user};
  r.log = puna::Log(o.log_user, o.log);
  return r;
}

}  // namespace

extern "C" {

void PUNA_CALL puna_runtime_options_init(puna_runtime_options* options, size_t size) {
  capi::init_options(options, size, runtime_defaults());
}

int32_t PUNA_CALL puna_runtime_create(puna_runtime** out, const puna_runtime_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const auto o = capi::read_options(options, runtime_defaults(), "options");
    puna::machine_kernels();  // a forced ISA that cannot run is told here, not in the middle of work
    *out = new puna_runtime{std::make_shared<puna::Runtime>(core_options(o))};
  });
}

void PUNA_CALL puna_runtime_destroy(puna_runtime* runtime) { delete runtime; }

int32_t PUNA_CALL puna_runtime_get_info(const puna_runtime* runtime, puna_runtime_info* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Runtime& r = *capi::required(runtime, "runtime").ref;
    puna_runtime_info info{};
    info.threads = static_cast<int32_t>(r.tasks.width());
    info.memory_used = r.memory.used();
    info.memory_peak = r.memory.peak();
    info.memory_limit = r.memory.limit();
    const std::string_view isa = puna::machine_kernels().name;
    std::copy_n(isa.data(), std::min(isa.size(), sizeof info.isa - 1), info.isa);
    capi::write_output(out, size, info, "out");
  });
}

}  // extern "C"
