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
  std::optional<std::string> text, lines, infill_prefix, infill_suffix;
  std::optional<std::vector<std::int32_t>> decode;
  bool bos = false, special = false, spm = false;
  bool infill() const { return infill_prefix || infill_suffix; }
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("tokenize",
                   "Text to token ids, or ids to text. -m takes a model, or a bare tokenizer.model or tokenizer.json.",
                   "  puna tokenize -m tokenizer.model --bos \"Hello world\"\n"
                   "  puna tokenize -m stories.gguf --decode 1,403,407\n"
                   "  puna tokenize -m tokenizer.model --lines texts.jsonl > ids.jsonl");
  line.text("TEXT", request.text, "", "the text to encode; put -- before one that begins with a dash");
  line.flag("--bos", request.bos, "begin with the beginning-of-sequence token");
  line.flag("--special", request.special, "<s> and the like in the text are their tokens, not text");
  line.ids("--decode", request.decode, "the text of these ids instead");
  line.text("--lines", request.lines, "FILE",
            "a JSON string per line in FILE (-: stdin); a JSON array of ids per line comes out");
  line.text("--infill-prefix", request.infill_prefix, "TEXT",
            "Code Llama: the prompt for what belongs between this ...");
  line.text("--infill-suffix", request.infill_suffix, "TEXT", "... and this");
  line.flag("--infill-spm", request.spm, "the suffix first");
  line.add_model();
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  const int ways = request.text.has_value() + request.decode.has_value() + request.lines.has_value() + request.infill();
  if (ways != 1) throw Usage("give one of: TEXT, --decode, --lines, or --infill-prefix with --infill-suffix");
  if (request.options.model.empty() && request.options.tokenizer.empty())
    throw Usage("no vocabulary: name a model or a tokenizer.model with -m");
  return true;
}

puna::Tokenizer open_tokenizer(const Options& options) {
  puna::Source source(options.tokenizer.empty() ? options.model.c_str() : options.tokenizer.c_str());
  if (!options.sha256.empty()) source.sha256 = options.sha256.c_str();
  return puna::Tokenizer(source);
}

puna::EncodeOptions encode_options(const Request& request) {
  puna::EncodeOptions options;
  options.bos = request.bos;
  options.parse_special = request.special;
  return options;
}

// One JSON string per line; an error names the line.
int encode_lines(const Request& request, const puna::Tokenizer& tokenizer) {
  const puna::EncodeOptions options = encode_options(request);
  std::istringstream in(read_text(*request.lines));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    const Json text = Json::parse(line, nullptr, false);
    if (!text.is_string())
      throw Failed(fmt::format("{}: line {} is not a JSON string: {}", *request.lines, number, printable(line, 60)));
    write_json(tokenizer.encode(text.get_ref<const std::string&>(), options));
  }
  return exit_ok;
}

void print_tokens(const puna::Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += fmt::format("{:>6}  {}\n", id, printable(tokenizer.piece(id)));
  write_out(out);
}

int tokenize(const Request& request) {
  const puna::Tokenizer tokenizer = open_tokenizer(request.options);
  if (request.lines) return encode_lines(request, tokenizer);
  std::vector<std::int32_t> ids;
  if (request.decode)
    ids = *request.decode;
  else if (request.infill())
    ids = tokenizer.encode_infill(request.infill_prefix.value_or(""), request.infill_suffix.value_or(""), request.spm);
  else
    ids = tokenizer.encode(*request.text, encode_options(request));
  const std::string text = request.text ? *request.text : tokenizer.decode(ids);
  if (request.options.json) {
    Json pieces = Json::array();
    for (const std::int32_t id : ids) pieces.push_back(std::string(tokenizer.piece(id)));
    write_json({{"ids", ids}, {"pieces", pieces}, {"text", text}});
  } else if (request.decode) {
    write_out(text + "\n");
  } else {
    print_tokens(tokenizer, ids);
    say(request.options.quiet, fmt::format("{} tokens", ids.size()));
  }
  return exit_ok;
}

}  // namespace

int run_tokenize(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? tokenize(request) : exit_ok;
}

}  // namespace cli
