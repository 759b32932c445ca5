#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

// std::from_chars takes neither spaces nor a plus nor 0x, which is what strict means here.
template <class T>
bool whole(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

[[noreturn]] void refuse(const std::string& option, const std::string& text, const std::string& wanted) {
  throw Usage(fmt::format("{}: '{}' is not {}", option, printable(text, 60), wanted));
}

}  // namespace

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  if (!whole(text, value) || value < low || value > high)
    refuse(option, text, fmt::format("an integer from {} to {}", low, high));
  return value;
}

std::uint64_t parse_unsigned(const std::string& option, const std::string& text) {
  std::uint64_t value = 0;
  if (!whole(text, value)) refuse(option, text, "an integer from 0 to 2^64-1");
  return value;
}

float split_adapter(std::string& text) {
  const std::size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0) return 1.0f;
  const double scale = parse_real("--lora", text.substr(at + 1), -1e6, 1e6);
  text.resize(at);
  return static_cast<float>(scale);
}

double parse_real(const std::string& option, const std::string& text, double low, double high) {
  // strtod, because not every standard library has from_chars for double; its leniencies are shut out first.
  char* end = nullptr;
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.eE+-") == std::string::npos && text[0] != '+';
  const double value = plain ? std::strtod(text.c_str(), &end) : 0;
  if (!plain || *end != '\0' || !std::isfinite(value) || value < low || value > high) {
    const double unlimited = std::numeric_limits<double>::max();
    refuse(option, text,
           high >= unlimited && low <= -unlimited ? std::string("a number")
           : high >= unlimited                    ? fmt::format("a number from {} up", low)
                                                  : fmt::format("a number from {} to {}", low, high));
  }
  return value;
}

std::uint64_t parse_bytes(const std::string& option, const std::string& text) {
  static const std::string units = "KMGT";
  std::string digits = text;
  int shift = 0;
  if (const auto unit = text.empty() ? std::string::npos : units.find(text.back()); unit != std::string::npos) {
    shift = 10 * (static_cast<int>(unit) + 1);
    digits.pop_back();
  }
  std::uint64_t value = 0;
  if (!whole(digits, value) || value > (std::numeric_limits<std::uint64_t>::max() >> shift))
    refuse(option, text, "a number of bytes, such as 1500000000, 512M or 2G");
  return value << shift;
}

std::vector<std::int32_t> parse_ids(const std::string& option, const std::string& text) {
  std::vector<std::int32_t> ids;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    std::int32_t id = 0;
    if (!whole(text.substr(begin, comma - begin), id) || id < 0)
      refuse(option, text, "a list of token ids, such as 1,403,407");
    ids.push_back(id);
    if (comma == text.size()) return ids;
    begin = comma + 1;
  }
}

CommandLine::CommandLine(const std::string& name, const std::string& about, const std::string& examples)
    : app_(std::make_unique<CLI::App>(about, "puna " + name)) {
  app_->set_help_flag("-h,--help", "show this help");
  app_->get_formatter()->column_width(30);
  if (!examples.empty()) app_->footer("Examples:\n" + examples);
}

CommandLine::~CommandLine() = default;

void CommandLine::flag(const std::string& names, bool& target, const std::string& help) {
  app_->add_flag(names, target, help)->group(group_);
}

void CommandLine::value(const std::string& names, const std::string& type, const std::string& help, Take take) {
  const auto call = [take = std::move(take), name = names.substr(0, names.find(','))](const std::string& text) {
    take(name, text);
  };
  app_->add_option_function<std::string>(names, call, help)->type_name(type)->group(group_);
}

void CommandLine::text(const std::string& names, std::string& target, const std::string& type,
                       const std::string& help) {
  value(names, type, help, [&target](const std::string&, const std::string& text) { target = text; });
}

void CommandLine::text(const std::string& names, std::optional<std::string>& target, const std::string& type,
                       const std::string& help) {
  value(names, type, help, [&target](const std::string&, const std::string& text) { target = text; });
}

void CommandLine::texts(const std::string& names, std::vector<std::string>& target, const std::string& type,
                        const std::string& help) {
  // Without allow_extra_args(false) a value such as [/INST] would be taken apart as a list.
  app_->add_option(names, target, help)->type_name(type)->allow_extra_args(false)->group(group_);
}

void CommandLine::integer(const std::string& names, std::uint32_t& target, std::uint32_t low, std::uint32_t high,
                          const std::string& help) {
  value(names, "N", help, [&target, low, high](const std::string& name, const std::string& text) {
    target = static_cast<std::uint32_t>(parse_integer(name, text, low, high));
  });
}

void CommandLine::integer(const std::string& names, std::optional<std::uint32_t>& target, std::uint32_t low,
                          std::uint32_t high, const std::string& help) {
  value(names, "N", help, [&target, low, high](const std::string& name, const std::string& text) {
    target = static_cast<std::uint32_t>(parse_integer(name, text, low, high));
  });
}

void CommandLine::real(const std::string& names, std::optional<double>& target, double low, double high,
                       const std::string& help) {
  value(names, "X", help, [&target, low, high](const std::string& name, const std::string& text) {
    target = parse_real(name, text, low, high);
  });
}

void CommandLine::ids(const std::string& names, std::optional<std::vector<std::int32_t>>& target,
                      const std::string& help) {
  value(names, "IDS", help,
        [&target](const std::string& name, const std::string& text) { target = parse_ids(name, text); });
}

void CommandLine::add_output() {
  group("Output");
  flag("--json", options_.json, "print one JSON object on one line of stdout");
  flag("-q,--quiet", options_.quiet, "nothing on stderr but errors");
}

void CommandLine::add_model() {
  group("Model");
  text("-m,--model", options_.model, "MODEL",
       "a GGUF file, a Hugging Face folder, a Meta folder or .pth, or a llama2.c .bin");
  text("--tokenizer", options_.tokenizer, "FILE", "where the vocabulary is, if not with the model");
  value("--sha256", "HEX", "refuse a model file whose bytes do not hash to this",
        [this](const std::string& name, const std::string& text) {
          if (text.size() != 64 || text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
            refuse(name, text, "64 hexadecimal digits");
          options_.sha256 = text;
        });
}

void CommandLine::add_synthetic() {
  group("Model");
  text("--synthetic", options_.synthetic, "SHAPE", "random weights of a known shape: 7b, 13b, 1.1b, 110m ...");
  text("--type", options_.type, "TYPE", "their weight type; default q4_0");
}

void CommandLine::add_machine() {
  group("Machine");
  integer("--threads", options_.threads, 1, 1024, "default: one per core");
  value("--memory-limit", "BYTES", "fail rather than use more for weights, cache and workspace: 512M, 2G",
        [this](const std::string& name, const std::string& text) { options_.memory_limit = parse_bytes(name, text); });
  flag("--mlock", options_.lock, "keep the weights in memory, whatever else runs");
  flag("--pin", options_.pin, "each thread on a core of its own");
  flag("--as-stored", options_.as_stored, "use weights where the file is mapped: starts at once, runs slower");
}

void CommandLine::add_cache(bool context) {
  group("Machine");
  if (context)
    integer("--context", options_.context, 1, std::numeric_limits<std::int32_t>::max(),
            "tokens the cache holds; default: what the model was trained for");
  value("--cache", "TYPE", "number type of the cache: f32, f16 (default), q8_0 (half of f16's bytes) or q4_0 (a quarter)",
        [this](const std::string& name, const std::string& text) {
          if (text == "f16") options_.cache = PUNA_CACHE_F16;
          else if (text == "f32") options_.cache = PUNA_CACHE_F32;
          else if (text == "q8_0") options_.cache = PUNA_CACHE_Q8_0;
          else if (text == "q4_0") options_.cache = PUNA_CACHE_Q4_0;
          else refuse(name, text, "f32, f16, q8_0 or q4_0");
        });
}

bool CommandLine::parse(const Arguments& arguments) {
  try {
    app_->parse(Arguments(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
    return true;
  } catch (const CLI::CallForHelp&) {
    write_out(app_->help());
    return false;
  } catch (const CLI::ParseError& error) {
    throw Usage(error.what());
  }
}

}  // namespace cli
