#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "files.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {

int run_calibrate(const Arguments& arguments) {
  CommandLine line(
      "calibrate",
      "An importance matrix: how large the inputs of each weight matrix are over a text of yours, column by\n"
      "column. quantize --imatrix spends its bits accordingly. The text is cut into chunks of --ctx tokens.",
      "  puna calibrate -m llama-f16.gguf -f notes.txt --out imatrix.gguf");
  std::optional<std::string> file;
  std::string out;
  std::uint32_t context = 512, chunks = 0;
  line.text("-f,--file", file, "FILE", "the text; -: stdin");
  line.text("--out", out, "FILE", "a .gguf, or llama.cpp's older form by the ending .dat");
  line.integer("--ctx", context, 2, 1u << 24, "tokens per chunk; default 512");
  line.integer("--chunks", chunks, 0, 1u << 30, "at most so many chunks; default 0: all");
  line.add_model();
  line.add_machine();
  line.add_output();
  if (!line.parse(arguments)) return exit_ok;
  if (!file || out.empty()) throw Usage("-f and --out are needed");
  require_model(line.options());

  const std::string text = read_text(*file);
  const Interrupt interrupt;
  Progress progress(line.options().quiet);
  const puna::Runtime runtime = make_runtime(line.options());
  const puna::Model model = open_model(line.options(), runtime, progress, interrupt);
  puna_calibrate_options o;
  puna_calibrate_options_init(&o, sizeof o);
  o.context = context;
  o.chunks = chunks;
  o.threads = static_cast<std::int32_t>(line.options().threads);
  o.cancel = interrupt.token();
  o.progress = Progress::report;
  o.progress_user = &progress;
  puna_job* raw = nullptr;
  puna::call(puna_calibrate_job, &raw, model.get(), text.data(), text.size(), out.c_str(), &o);
  const puna::Handle<puna_job, puna_job_destroy> job(raw);
  puna::call(puna_job_step, raw, -1.0, nullptr);
  puna_progress seen{};
  puna::call(puna_job_progress, static_cast<const puna_job*>(raw), &seen, sizeof seen);
  progress.clear();
  if (line.options().json)
    write_json({{"tokens", seen.done}, {"out", out}});
  else
    write_out(fmt::format("{}: from {} tokens\n", printable(out), seen.done));
  return exit_ok;
}

}  // namespace cli
