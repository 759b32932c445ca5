#include <nlohmann/json.hpp>
#include <sstream>

#include "cli.hpp"
#include "files.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::optional<std::string> file, documents;
  std::uint32_t context = 512;
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("perplexity",
                   "How well the model predicts a text: nll, the mean natural-log loss per predicted token, and\n"
                   "ppl = exp(nll). A text is cut into chunks of --ctx tokens, each begun with BOS, and the second\n"
                   "half of each is scored, as llama.cpp does; with --json also nll_windows, where all but the first\n"
                   "token of each chunk are scored. Documents are scored each by itself, cut to --ctx tokens with BOS.",
                   "  puna perplexity -m llama.gguf -f wiki.test.raw --ctx 512\n"
                   "  puna perplexity -m llama.gguf --documents rows.jsonl --json");
  line.text("-f,--file", request.file, "FILE", "one text; -: stdin");
  line.text("--documents", request.documents, "FILE", "a JSON object with \"text\" per line; -: stdin");
  line.integer("--ctx", request.context, 2, 1u << 24, "tokens per chunk or document; default 512");
  line.add_model();
  line.add_machine();
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  if (request.file.has_value() == request.documents.has_value()) throw Usage("give -f or --documents");
  require_model(request.options);
  return true;
}

std::vector<std::string> read_documents(const std::string& name) {
  std::vector<std::string> texts;
  std::istringstream in(read_text(name));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json row = Json::parse(line, nullptr, false);
    const auto text = row.is_object() ? row.find("text") : row.end();
    if (!row.is_object() || text == row.end() || !text->is_string())
      throw Failed(fmt::format("{}: line {} is not an object with a string \"text\": {}", name, number,
                               printable(line, 60)));
    texts.push_back(text->get<std::string>());
  }
  if (texts.empty()) throw Failed(name + ": holds no documents");
  return texts;
}

class Measure {
 public:
  Measure(const Request& request, const std::vector<std::string>& texts, const Interrupt& interrupt, Progress& progress)
      : name_(request.documents ? *request.documents : *request.file), progress_(progress) {
    for (const std::string& text : texts) {
      texts_.push_back(text.data());
      lengths_.push_back(text.size());
    }
    options_.context = request.context;
    options_.threads = static_cast<std::int32_t>(request.options.threads);
    options_.cancel = interrupt.token();
    options_.progress = Progress::report;
    options_.progress_user = &progress;
  }
  puna_perplexity run(const puna::Model& model, std::int32_t protocol) try {
    options_.protocol = protocol;
    puna_perplexity out{};
    puna::call(puna_eval_perplexity, model.get(), texts_.data(), lengths_.data(), texts_.size(), &options_, &out,
               sizeof out);
    progress_.clear();
    return out;
  } catch (const puna::Error& error) {
    // The library knows the text, not what its file is called.
    if (error.code() != PUNA_E_ARGUMENT && error.code() != PUNA_E_ENCODING) throw;
    throw Failed(name_ + ": " + error.what());
  }

 private:
  std::string name_;
  std::vector<const char*> texts_;
  std::vector<std::size_t> lengths_;
  puna::PerplexityOptions options_;
  Progress& progress_;
};

int perplexity(const Request& request) {
  const bool documents = request.documents.has_value();
  const std::vector<std::string> texts =
      documents ? read_documents(*request.documents) : std::vector<std::string>{read_text(*request.file)};
  const Interrupt interrupt;
  Progress progress(request.options.quiet);
  const puna::Runtime runtime = make_runtime(request.options);
  const puna::Model model = open_model(request.options, runtime, progress, interrupt);

  Measure measure(request, texts, interrupt, progress);
  const puna_perplexity main = measure.run(model, documents ? PUNA_PERPLEXITY_DOCUMENTS : PUNA_PERPLEXITY_HALF);
  if (!request.options.json) {
    write_out(fmt::format("ppl {:.4f}  nll {:.6f}  over {} tokens\n", main.ppl, main.nll, main.tokens));
    return exit_ok;
  }
  Json out{{"nll", main.nll}};
  out["nll_windows"] = nullptr;  // of a text only
  if (!documents) out["nll_windows"] = measure.run(model, PUNA_PERPLEXITY_WINDOWS).nll;
  out["ppl"] = main.ppl;
  out["tokens"] = main.tokens;
  out["ctx"] = request.context;
  write_json(out);
  return exit_ok;
}

}  // namespace

int run_perplexity(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? perplexity(request) : exit_ok;
}

}  // namespace cli
