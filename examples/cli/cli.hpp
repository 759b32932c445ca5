// What every command of the puna tool shares: its ending, its options, its model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <puna.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cli {

enum Exit : int { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_interrupted = 130 };

// The command line is wrong: exit 2.
struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The work failed for a reason outside the library: exit 1. What the library reports is a puna::Error.
struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Arguments = std::vector<std::string>;  // UTF-8, without program and command

int run_generate(const Arguments& arguments);
int run_tokenize(const Arguments& arguments);
int run_logits(const Arguments& arguments);
int run_perplexity(const Arguments& arguments);
int run_inspect(const Arguments& arguments);
int run_plan(const Arguments& arguments);
int run_plan_train(const Arguments& arguments);
int run_bench(const Arguments& arguments);
int run_version(const Arguments& arguments);
int run_quantize(const Arguments& arguments);
int run_convert(const Arguments& arguments);
int run_calibrate(const Arguments& arguments);
int run_data(const Arguments& arguments);
int run_train(const Arguments& arguments);
int run_merge(const Arguments& arguments);

// ---- options (options.cpp) ------------------------------------------------------------------------------------------

// Strict: the whole text must be the number. Usage errors name the option and the text.
std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t low, std::int64_t high);
std::uint64_t parse_unsigned(const std::string& option, const std::string& text);
double parse_real(const std::string& option, const std::string& text, double low, double high);
std::uint64_t parse_bytes(const std::string& option, const std::string& text);  // "512M", "2G", plain bytes
std::vector<std::int32_t> parse_ids(const std::string& option, const std::string& text);  // "1,403,407"

struct Options {
  std::string model, tokenizer, sha256, synthetic, type = "q4_0";
  std::uint32_t threads = 0, context = 0;
  std::uint64_t memory_limit = 0;
  bool as_stored = false, lock = false, pin = false;
  std::int32_t cache = PUNA_CACHE_F16;
  bool json = false, quiet = false;
};

// One command's command line. Numbers parse as above; a help text names the default itself.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& about, const std::string& examples);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  Options& options() { return options_; }

  // Options added from now on stand under this heading in the help.
  void group(const std::string& heading) { group_ = heading; }
  void flag(const std::string& names, bool& target, const std::string& help);
  void text(const std::string& names, std::string& target, const std::string& type, const std::string& help);
  void text(const std::string& names, std::optional<std::string>& target, const std::string& type,
            const std::string& help);
  void texts(const std::string& names, std::vector<std::string>& target, const std::string& type,
             const std::string& help);  // one value each time it is given
  void integer(const std::string& names, std::uint32_t& target, std::uint32_t low, std::uint32_t high,
               const std::string& help);
  void integer(const std::string& names, std::optional<std::uint32_t>& target, std::uint32_t low, std::uint32_t high,
               const std::string& help);
  void real(const std::string& names, std::optional<double>& target, double low, double high, const std::string& help);
  void ids(const std::string& names, std::optional<std::vector<std::int32_t>>& target, const std::string& help);
  // `take` gets the option's name as errors should call it, and the text.
  using Take = std::function<void(const std::string& name, const std::string& text)>;
  void value(const std::string& names, const std::string& type, const std::string& help, Take take);

  void add_output();                    // --json --quiet
  void add_model();                     // -m --tokenizer --sha256
  void add_synthetic();                 // --synthetic --type
  void add_machine();                   // --threads --memory-limit --as-stored --mlock --pin
  void add_cache(bool context = true);  // --context --cache
  // False when the help was asked for and shown. Throws Usage.
  bool parse(const Arguments& arguments);

 private:
  std::unique_ptr<CLI::App> app_;
  std::string group_ = "Options";
  Options options_;
};

// "PATH=SCALE": the scale, which is cut off; 1 without. Throws Usage.
float split_adapter(std::string& text);

// ---- the model (host.cpp) -----------------------------------------------------------------------------------------

class Progress;
class Interrupt;

// Throws Usage when no model is named.
void require_model(const Options& options);

// The model that the options name, with the structs that point at the options' texts.
class ModelFiles {
 public:
  explicit ModelFiles(const Options& options);
  ModelFiles(const ModelFiles&) = delete;
  ModelFiles& operator=(const ModelFiles&) = delete;
  const puna::Source& model() const { return model_; }
  puna::ModelOptions& model_options() { return model_options_; }

 private:
  std::string synthetic_;
  puna::Source model_, tokenizer_;
  puna::ModelOptions model_options_;
};

puna::Runtime make_runtime(const Options& options);
puna::Model open_model(const Options& options, const puna::Runtime& runtime, Progress& progress,
                       const Interrupt& interrupt, std::uint32_t flags = 0);
puna::SessionOptions session_options(const Options& options);
void use_adapters(const puna::Session& session, const puna::Model& model, std::vector<std::string> adapters);  // "PATH[=SCALE]"

}  // namespace cli
