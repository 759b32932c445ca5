#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

constexpr const char* pack_help = "lay quantized rows as this machine's kernels want them: mapped and used at once next time";

struct Request {
  Options options;
  std::string in, out;
  std::optional<std::string> type, imatrix, format;
  std::vector<std::string> overrides;
  std::uint64_t shard_bytes = 0;
  bool pure = false, requantize = false, pack = false;
};

std::int32_t format_of(const std::optional<std::string>& name) {
  if (!name) return PUNA_FORMAT_AUTO;
  if (*name == "gguf") return PUNA_FORMAT_GGUF;
  if (*name == "safetensors") return PUNA_FORMAT_SAFETENSORS;
  throw Usage("--format: '" + printable(*name, 60) + "' is neither gguf nor safetensors");
}

void add_common(CommandLine& line, Request& r) {
  line.text("IN", r.in, "", "the model: a GGUF, a Hugging Face or Meta folder, a .pth, a llama2.c .bin");
  line.text("OUT", r.out, "", "a name ending in .gguf: a GGUF; else a new Hugging Face folder");
  line.text("--format", r.format, "FORMAT", "gguf or safetensors, whatever the name says");
  line.value("--shard-bytes", "SIZE", "safetensors: the largest shard, such as 2G; default 5G",
             [&r](const std::string& name, const std::string& text) { r.shard_bytes = parse_bytes(name, text); });
  line.add_machine();
  line.add_output();
}

int write(const Request& r) {
  if (r.in.empty() || r.out.empty()) throw Usage("an IN and an OUT are needed");
  const Interrupt interrupt;
  Progress progress(r.options.quiet);
  const puna::Runtime runtime = make_runtime(r.options);
  puna_quantize_options o;
  puna_quantize_options_init(&o, sizeof o);
  const puna::Source source(r.in.c_str());
  const puna::Source imatrix(r.imatrix ? r.imatrix->c_str() : "");
  std::vector<const char*> overrides;
  for (const std::string& text : r.overrides) overrides.push_back(text.c_str());
  o.flags = (r.pure ? PUNA_QUANTIZE_PURE : 0u) | (r.requantize ? PUNA_QUANTIZE_REQUANTIZE : 0u) | (r.pack ? PUNA_QUANTIZE_PACK : 0u);
  o.format = format_of(r.format);
  o.type = r.type ? r.type->c_str() : nullptr;
  o.imatrix = r.imatrix ? &imatrix : nullptr;
  o.overrides = overrides.data();
  o.override_count = overrides.size();
  o.shard_bytes = r.shard_bytes;
  o.cancel = interrupt.token();
  o.progress = Progress::report;
  o.progress_user = &progress;
  puna_quantize_result result{};
  puna::call(puna_quantize, runtime.get(), &source, r.out.c_str(), &o, &result, sizeof result);
  progress.clear();
  if (r.options.json)
    write_json({{"bytes", result.bytes},
                {"bits_per_weight", result.bits_per_weight},
                {"tensors", result.tensors},
                {"out", r.out}});
  else
    write_out(fmt::format("{}: {:.1f} MB, {:.2f} bits per weight\n", printable(r.out),
                          static_cast<double>(result.bytes) / 1e6, result.bits_per_weight));
  return exit_ok;
}

}  // namespace

int run_quantize(const Arguments& arguments) {
  Request r;
  CommandLine line(
      "quantize",
      "Stores a model's weights in fewer bits. --type is one of llama.cpp's mixes (q8_0, q6_k, q5_k_m, q4_k_m,\n"
      "q4_0, q3_k_m, q2_k, iq4_xs …) or f16, bf16, f32. The output is whole under its name or not there.",
      "  puna quantize llama-f16.gguf llama-q4.gguf --type q4_k_m\n"
      "  puna quantize llama-folder llama-q4.gguf --type q4_k_m --imatrix imatrix.gguf\n"
      "  puna quantize in.gguf out.gguf --type q4_0 --override 'blk.*.ffn_down.weight=q6_K'");
  line.text("--type", r.type, "TYPE", "what most matrices get");
  line.text("--imatrix", r.imatrix, "FILE", "importance of columns, from puna calibrate or llama.cpp");
  line.flag("--pure", r.pure, "that type everywhere, no mix");
  line.texts("--override", r.overrides, "PATTERN=TYPE",
             "another type for tensors whose name matches, '*' for anything");
  line.flag("--requantize", r.requantize, "allow a source that is quantized already; quality is lost twice");
  line.flag("--pack", r.pack, pack_help);
  add_common(line, r);
  if (!line.parse(arguments)) return exit_ok;
  if (!r.type) throw Usage("--type is needed, such as --type q4_k_m");
  r.options = line.options();
  return write(r);
}

int run_convert(const Arguments& arguments) {
  Request r;
  CommandLine line(
      "convert",
      "Writes a model in another container: GGUF, or a Hugging Face folder of safetensors. Every tensor keeps\n"
      "its type unless --dtype names another; the values of f32, f16 and bf16 stay bit for bit.",
      "  puna convert llama-folder llama.gguf\n"
      "  puna convert llama-q4.gguf llama-q4-here.gguf --pack\n"
      "  puna convert llama.gguf llama-folder --format safetensors --dtype f16");
  line.text("--dtype", r.type, "TYPE", "f32, f16 or bf16 for matrices");
  line.flag("--pack", r.pack, pack_help);
  add_common(line, r);
  if (!line.parse(arguments)) return exit_ok;
  r.options = line.options();
  if (r.type && *r.type != "f32" && *r.type != "f16" && *r.type != "bf16")
    throw Usage("--dtype " + *r.type + ": f32, f16 or bf16; puna quantize writes the others");
  r.requantize = true;  // from blocks to floats nothing is lost
  return write(r);
}

}  // namespace cli
