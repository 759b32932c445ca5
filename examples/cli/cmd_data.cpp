#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "files.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::string file, chat_template;
  std::uint32_t sample = 1;
  puna_data_options data{};
};

struct Choice {
  const char* name;
  std::int32_t value;
};

// An option whose value is one of a few words.
template <std::size_t N>
void choose(CommandLine& line, const char* option, const Choice (&choices)[N], std::int32_t& target, const std::string& help) {
  line.value(option, "WHAT", help, [&target, &choices](const std::string& name, const std::string& text) {
    std::string known;
    for (const Choice& choice : choices) {
      if (text == choice.name) return void(target = choice.value);
      known += (known.empty() ? "" : ", ") + std::string(choice.name);
    }
    throw Usage(fmt::format("{}: '{}' is none of {}", name, printable(text, 60), known));
  });
}

constexpr Choice formats[] = {{"auto", PUNA_DATA_AUTO}, {"jsonl", PUNA_DATA_JSONL}, {"json", PUNA_DATA_JSON}, {"csv", PUNA_DATA_CSV}, {"text", PUNA_DATA_TEXT}};
constexpr Choice kinds[] = {{"auto", PUNA_DATA_AUTO},          {"messages", PUNA_ROWS_MESSAGES}, {"sharegpt", PUNA_ROWS_SHAREGPT},
                            {"alpaca", PUNA_ROWS_ALPACA},      {"prompt", PUNA_ROWS_PROMPT},     {"preference", PUNA_ROWS_PREFERENCE},
                            {"text", PUNA_ROWS_TEXT}};
constexpr Choice tags[] = {{"refuse", PUNA_TAGS_REFUSE}, {"neutralise", PUNA_TAGS_NEUTRALISE}, {"keep", PUNA_TAGS_KEEP}};
constexpr Choice long_rows[] = {{"cut", PUNA_TOO_LONG_CUT}, {"drop", PUNA_TOO_LONG_DROP}, {"refuse", PUNA_TOO_LONG_REFUSE}};

bool parse(const Arguments& arguments, Request& request) {
  puna_data_options_init(&request.data, sizeof request.data);
  bool drop_duplicates = false, learn_prompts = false, chat_prompts = false;
  CommandLine line("data",
                   "Looks at training data as train would: how many rows and tokens, which of them are learnt, and\n"
                   "every row that would be refused or that is odd, with its line. -m takes a model or a tokenizer.model.",
                   "  puna data -m llama.gguf --data rows.jsonl --ctx 2048\n"
                   "  puna data -m tokenizer.model chats.jsonl --template llama-2 --json\n"
                   "  puna data -m llama.gguf notes.csv --tags neutralise --sample 7");
  line.text("FILE,--data", request.file, "FILE", "JSON lines, a JSON list, CSV with a line of names, or plain text");
  choose(line, "--format", formats, request.data.format, "auto (default), jsonl, json, csv, text");
  choose(line, "--rows", kinds, request.data.rows, "auto (default), messages, sharegpt, alpaca, prompt, preference, text");
  line.text("--template,--chat", request.chat_template, "NAME", "chat template, or one as JSON; default: the model's own");
  choose(line, "--tags", tags, request.data.tags, "special tags inside a text: refuse (default), neutralise, keep");
  line.integer("--ctx", request.data.length, 2, 1u << 24, "tokens that a row may have; default: any number");
  choose(line, "--too-long", long_rows, request.data.too_long, "rows of more: cut (default), drop, refuse");
  line.flag("--drop-duplicates", drop_duplicates, "leave out rows that were there before");
  line.flag("--learn-prompts", learn_prompts, "questions are learnt too, not answers alone");
  line.flag("--chat-prompts", chat_prompts, "prompt and completion are said as user and assistant");
  line.integer("--sample", request.sample, 1, 1u << 31, "the row to show; default 1");
  line.add_model();
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  if (request.file.empty()) throw Usage("no data: name a file with --data");
  if (request.options.model.empty() && request.options.tokenizer.empty()) throw Usage("no vocabulary: name a model or a tokenizer.model with -m");
  request.data.flags = (drop_duplicates ? PUNA_DATA_DROP_DUPLICATES : 0) | (learn_prompts ? PUNA_DATA_LEARN_PROMPTS : 0) |
                       (chat_prompts ? PUNA_DATA_CHAT_PROMPTS : 0);
  request.data.sample = request.sample;
  if (!request.chat_template.empty()) request.data.chat_template = request.chat_template.c_str();
  return true;
}

puna::Tokenizer open_tokenizer(const Options& options) {
  puna::Source source(options.tokenizer.empty() ? options.model.c_str() : options.tokenizer.c_str());
  if (!options.sha256.empty()) source.sha256 = options.sha256.c_str();
  return puna::Tokenizer(source);
}

const char* name_of(std::int32_t value, const Choice* choices, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (choices[i].value == value) return choices[i].name;
  return "?";
}

puna_data_row sample_of(const puna::Data& data, bool rejected) {
  return puna::fetch<puna_data_row>(puna_data_sample, data.get(), std::int32_t{rejected});
}

// What is learnt in green, or between marks where there is no terminal.
std::string shown(const puna::Tokenizer& tokenizer, const puna_data_row& row, bool colour) {
  std::string out;
  bool learnt = false;
  const auto turn = [&](bool on) {
    if (on == learnt) return;
    out += colour ? (on ? "\x1b[32m" : "\x1b[0m") : (on ? "\xC2\xAB" : "\xC2\xBB");
    learnt = on;
  };
  // Runs of tokens are decoded together, so that characters of several tokens are whole.
  std::size_t shown_tokens = 0;
  for (std::size_t at = 0; at < row.count && shown_tokens < 600;) {
    std::size_t end = at;
    std::string text;
    for (; end < row.count && row.loss[end] == row.loss[at]; ++end) {
      const puna_token_info info = tokenizer.token(row.ids[end]);
      std::string piece(info.piece, info.piece_length);
      if (info.attributes & PUNA_TOKEN_BYTE) piece = static_cast<char>(std::strtol(piece.c_str() + 3, nullptr, 16));
      for (std::size_t i; (i = piece.find("\xE2\x96\x81")) != std::string::npos;) piece.replace(i, 3, " ");
      text += piece;
    }
    turn(row.loss[at] != 0);
    std::string safe = printable(text, 4000);
    for (std::size_t i = 0; (i = safe.find("\\n", i)) != std::string::npos; i += 3) safe.replace(i, 2, "\\n\n  ");
    out += safe;
    shown_tokens += end - at;
    at = end;
  }
  turn(false);
  return "  " + out + (shown_tokens < row.count ? "..." : "") + "\n";
}

Json sample_json(const puna_data_row& row) {
  if (row.count == 0) return nullptr;
  return {{"line", row.line}, {"ids", std::vector<std::int32_t>(row.ids, row.ids + row.count)},
          {"loss", std::vector<int>(row.loss, row.loss + row.count)}};
}

Json report_json(const puna::Data& data, const puna_data_info& info) {
  Json problems = Json::array(), counts = Json::object();
  for (std::int32_t fault = 0; const char* name = puna_data_fault_name(fault); ++fault) counts[name] = puna_data_fault_count(data.get(), fault);
  for (std::size_t i = 0; i < puna_data_finding_count(data.get()); ++i) {
    const auto f = puna::fetch<puna_data_finding>(puna_data_get_finding, data.get(), i);
    problems.push_back({{"line", f.line}, {"kind", puna_data_fault_name(f.fault)}, {"text", f.text}});
  }
  return {{"rows", info.rows},
          {"tokens", info.tokens},
          {"loss_tokens", info.loss_tokens},
          {"problems", problems},
          {"counts", counts},
          {"refused", info.refused},
          {"warnings", info.warnings},
          {"longest", info.longest},
          {"neutralised", info.neutralised},
          {"format", name_of(info.format, formats, std::size(formats))},
          {"kind", name_of(info.rows_kind, kinds, std::size(kinds))},
          {"template", info.chat_template},
          {"sample", sample_json(sample_of(data, false))},
          {"rejected", sample_json(sample_of(data, true))}};
}

void print_report(const Request& request, const puna::Tokenizer& tokenizer, const puna::Data& data, const puna_data_info& info) {
  const std::string chat = *info.chat_template ? std::string(", template ") + printable(info.chat_template, 40) : "";
  write_out(fmt::format("{}: {}, rows of {}{}\n", printable(request.file), name_of(info.format, formats, std::size(formats)),
                        name_of(info.rows_kind, kinds, std::size(kinds)), chat));
  write_out(fmt::format("{} rows, {} tokens, of which {} are learnt ({:.1f}%); the longest row has {}\n", info.rows, info.tokens, info.loss_tokens,
                        info.tokens ? 100.0 * static_cast<double>(info.loss_tokens) / static_cast<double>(info.tokens) : 0.0, info.longest));
  if (info.neutralised) write_out(fmt::format("{} special tags neutralised\n", info.neutralised));
  const bool colour = stdout_is_terminal();
  for (const bool rejected : {false, true}) {
    const puna_data_row row = sample_of(data, rejected);
    if (row.count == 0) continue;
    write_out(fmt::format("\nline {}{}, {}:\n", row.line, rejected ? ", the rejected answer" : "", colour ? "what is learnt in green" : "what is learnt between \xC2\xAB and \xC2\xBB"));
    write_coloured(shown(tokenizer, row, colour));
  }
  const std::size_t kept = puna_data_finding_count(data.get());
  if (kept) write_out("\n");
  constexpr std::size_t most = 50;
  for (std::size_t i = 0; i < kept && i < most; ++i) {
    const auto f = puna::fetch<puna_data_finding>(puna_data_get_finding, data.get(), i);
    const bool warning = f.fault == PUNA_FAULT_DUPLICATE || (f.fault == PUNA_FAULT_TOO_LONG && request.data.too_long != PUNA_TOO_LONG_REFUSE);
    write_out(fmt::format("{} line {}: {}: {}\n", warning ? "warning" : "refused", f.line, puna_data_fault_name(f.fault), printable(f.text, 400)));
  }
  if (info.refused + info.warnings > std::min(kept, most)) write_out(fmt::format("... {} in all\n", info.refused + info.warnings));
}

int doctor(const Request& request) {
  const puna::Tokenizer tokenizer = open_tokenizer(request.options);
  const puna::Source source(request.file.c_str());
  const puna::Data data(tokenizer.get(), source, request.data);
  const auto info = puna::fetch<puna_data_info>(puna_data_get_info, data.get());
  if (request.options.json) write_json(report_json(data, info));
  else print_report(request, tokenizer, data, info);
  if (info.refused == 0) return exit_ok;
  throw Failed(fmt::format("{}: {} {} would be refused", request.file, info.refused, info.refused == 1 ? "row" : "rows"));
}

}  // namespace

int run_data(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? doctor(request) : exit_ok;
}

}  // namespace cli
