#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {

int run_version(const Arguments& arguments) {
  CommandLine line("version", "Version of the library in use, its ABI, and the kernels it picked on this machine.", "");
  line.add_output();
  if (!line.parse(arguments)) return exit_ok;
  const puna_runtime_info info = make_runtime(line.options()).info();
  if (line.options().json)
    write_json({{"version", puna_version()},
                {"abi", puna_abi_version()},
                {"isa", info.isa},
                {"threads", info.threads}});
  else
    write_out(fmt::format("puna {} (ABI {}), {} kernels, {} threads\n", puna_version(), puna_abi_version(), info.isa,
                          info.threads));
  return exit_ok;
}

}  // namespace cli
