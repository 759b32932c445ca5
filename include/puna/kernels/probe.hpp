// What a core can do at most, as loops that do nothing else: the limits that measurements of the kernels are held against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "puna/kernels/table.hpp"

namespace puna {

struct ProbeKernels {
  // Reads [data, data + bytes) once, with the widest loads of the path; the result only keeps the loads alive.
  std::uint64_t (*read)(const std::byte* data, std::size_t bytes);
  // One instruction in twelve independent chains, `rounds` times over: `ops` operations a round, a multiply-add being two.
  struct Peak {
    std::string_view instruction;  // empty: the path has none
    std::uint32_t ops;
    std::uint64_t (*run)(std::uint32_t rounds);
  };
  Peak int8, fp32;
};

// Of a path that this machine can run.
const ProbeKernels& probe_kernels(Isa isa);

}  // namespace puna
