#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

std::string bytes(std::uint64_t n) {
  return n < 10'000'000 ? fmt::format("{:.1f} KB", static_cast<double>(n) / 1e3)
                        : fmt::format("{:.1f} MB", static_cast<double>(n) / 1e6);
}

// Times are forecast together, or not at all.
Json known(double value, const puna_plan& plan) { return plan.decode_tokens_per_second > 0 ? Json(value) : Json(nullptr); }

}  // namespace

int run_plan(const Arguments& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i] == "--task=train" || (arguments[i] == "--task" && i + 1 < arguments.size() && arguments[i + 1] == "train"))
      return run_plan_train(arguments);
  CommandLine line("plan", "Memory, disk and time that a task will need, told from the header before anything is allocated.",
                   "  puna plan -m llama.gguf --task generate --context 4096\n"
                   "  puna plan --synthetic 7b --type q4_0\n"
                   "  puna plan -m llama-f16.gguf --task quantize --type q4_k_m\n"
                   "  puna plan --task train -m llama.gguf --data rows.jsonl");
  std::string task = "generate";
  line.text("--task", task, "TASK", "generate (default); quantize: to --type, without running it; train: see --task train --help");
  line.add_model();
  line.add_synthetic();
  line.add_cache();
  line.add_output();
  if (!line.parse(arguments)) return exit_ok;
  if (task != "generate" && task != "quantize")
    throw Usage("--task: '" + printable(task, 60) + "' is none of generate, quantize, train");

  ModelFiles files(line.options());
  const puna::SessionOptions session = session_options(line.options());
  puna_plan plan{};
  if (task == "quantize") {
    puna_quantize_options options;
    puna_quantize_options_init(&options, sizeof options);
    options.type = line.options().type.c_str();
    puna::call(puna_plan_quantize, &files.model(), &options, &plan, sizeof plan);
  } else {
    puna::call(puna_plan_generate, &files.model(), &files.model_options(), &session, &plan, sizeof plan);
  }
  if (line.options().json)
    write_json({{"memory_bytes", plan.memory_bytes},
                {"weight_bytes", plan.weight_bytes},
                {"copied_bytes", plan.copied_bytes},
                {"cache_bytes", plan.cache_bytes},
                {"workspace_bytes", plan.workspace_bytes},
                {"disk_bytes", plan.disk_bytes},
                {"load_ms", known(plan.load_ms, plan)},
                {"prompt_tps", known(plan.prompt_tokens_per_second, plan)},
                {"decode_tps", known(plan.decode_tokens_per_second, plan)}});
  else {
    write_out(fmt::format("memory     {}\n  weights  {} ({} copied, the rest mapped from the file)\n  cache    {}\n"
                          "  work     {}\ndisk       {}\n",
                          bytes(plan.memory_bytes), bytes(plan.weight_bytes), bytes(plan.copied_bytes),
                          bytes(plan.cache_bytes), bytes(plan.workspace_bytes), bytes(plan.disk_bytes)));
    if (plan.decode_tokens_per_second > 0)
      write_out(fmt::format("time       about {:.0f} ms to load, {:.3g} tokens/s of a prompt, {:.3g} tokens/s decoding\n",
                            plan.load_ms, plan.prompt_tokens_per_second, plan.decode_tokens_per_second));
  }
  return exit_ok;
}

}  // namespace cli
