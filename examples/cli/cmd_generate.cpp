#include <exception>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "files.hpp"
#include "sampling.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::optional<std::string> prompt, file;
  std::optional<std::vector<std::int32_t>> ids;
  std::uint32_t tokens = 0;
  std::vector<std::string> stop, adapters;
  std::optional<std::uint32_t> logprobs;
  bool ignore_eos = false, special = false;
  std::string speculate;  // empty: not
  std::optional<std::uint32_t> ahead;
  Sampling sampling;
};

const char* stop_name(std::int32_t stop) {
  switch (stop) {
    case PUNA_STOP_EOS: return "eos";
    case PUNA_STOP_LENGTH: return "length";
    case PUNA_STOP_CONTEXT: return "context";
    case PUNA_STOP_STRING: return "string";
    default: return "cancelled";
  }
}

// Takes what comes out of the model: to stdout as it is made, or kept for the one JSON object.
class Answer {
 public:
  Answer(bool stream, std::string prompt_text, bool logprobs, const puna::Tokenizer& tokenizer, Progress& progress)
      : stream_(stream),
        logprobs_wanted_(logprobs),
        prompt_text_(std::move(prompt_text)),
        tokenizer_(tokenizer),
        progress_(progress) {}

  static std::int32_t PUNA_CALL on_text(void* self, const char* text, std::size_t length) {
    return static_cast<Answer*>(self)->guarded([&](Answer& a) { a.take_text({text, length}); });
  }
  static std::int32_t PUNA_CALL on_token(void* self, const puna_token_event* event) {
    return static_cast<Answer*>(self)->guarded([&](Answer& a) { a.take_token(*event); });
  }
  // What a callback threw and could not let through the library.
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }
  // The prompt is shown when its own bar is gone.
  void begin_text() {
    if (!stream_ || begun_) return;
    begun_ = true;
    progress_.clear();
    write_out(prompt_text_);
  }
  void end_text() {
    begin_text();
    if (stream_) write_out("\n");
  }
  const std::string& text() const { return text_; }
  const std::vector<std::int32_t>& ids() const { return ids_; }
  const Json& logprobs() const { return logprobs_; }

 private:
  template <class F>
  std::int32_t guarded(F&& body) {
    try {
      body(*this);
      return 0;
    } catch (...) {
      thrown_ = std::current_exception();
      return 1;
    }
  }
  void take_text(std::string_view text) {
    begin_text();
    if (stream_)
      write_out(text);
    else
      text_ += text;
  }
  void take_token(const puna_token_event& event) {
    begin_text();
    ids_.push_back(event.id);
    if (!logprobs_wanted_) return;
    Json top = Json::array();
    for (std::uint32_t i = 0; i < event.top_count; ++i) top.push_back(entry(event.top[i].id, event.top[i].logprob));
    Json one = entry(event.id, event.logprob);
    one["top"] = std::move(top);
    logprobs_.push_back(std::move(one));
  }
  Json entry(std::int32_t id, float logprob) const {
    Json out{{"id", id}};
    if (tokenizer_) out["piece"] = tokenizer_.piece(id);
    out["logprob"] = logprob;
    return out;
  }

  bool stream_, logprobs_wanted_, begun_ = false;
  std::string prompt_text_, text_;
  const puna::Tokenizer& tokenizer_;
  Progress& progress_;
  std::vector<std::int32_t> ids_;
  Json logprobs_ = Json::array();
  std::exception_ptr thrown_;
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("generate",
                   "Continues a prompt. Text goes to stdout as it is made, the prompt first; without an option that\n"
                   "draws, the likeliest token is taken each time.",
                   "  puna generate -m stories.gguf -p \"Once upon a time\" -n 200\n"
                   "  puna generate -m llama-2-7b --temperature 0.6 --top-p 0.9 -f letter.txt --stop \"Yours,\"\n"
                   "  puna generate -m stories15M.bin --tokenizer tokenizer.bin -p \"One day\" --json");
  line.text("-p,--prompt", request.prompt, "TEXT", "the prompt; without any, the model just begins");
  line.text("-f,--file", request.file, "FILE", "a file that holds it; -: stdin");
  line.ids("--ids", request.ids, "exactly these tokens, such as 1,403,407; nothing added");
  line.flag("--special", request.special, "<s> and the like in the prompt are their tokens, not text");
  line.integer("-n,--tokens", request.tokens, 1, 1u << 30,
               "stop after N tokens; default: at the end of the text or of the context");
  line.texts("--stop", request.stop, "TEXT", "stop before this text appears; repeatable");
  line.flag("--ignore-eos", request.ignore_eos, "go on after the end-of-sequence token");
  line.integer("--logprobs", request.logprobs, 0, 64, "with --json: each token's log-probability, and the N likeliest");
  line.texts("--lora", request.adapters, "PATH[=SCALE]", "a PEFT folder or a GGUF adapter beside the model; repeatable");
  request.sampling.add_options(line);
  line.group("Speculation (never changes the answer)");
  line.text("--speculate", request.speculate, "WITH",
            "guess ahead: with ngram by what was said before, else with this small MODEL of the same vocabulary");
  line.integer("--ahead", request.ahead, 1, 64, "guesses at most; fewer where they do not pay; default 8");
  line.add_model();
  line.add_machine();
  line.add_cache();
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  request.sampling.check();
  if (request.prompt.has_value() + request.file.has_value() + request.ids.has_value() > 1)
    throw Usage("-p, -f and --ids exclude each other");
  if (request.ahead && request.speculate.empty()) throw Usage("--ahead is of no use without --speculate");
  for (const std::string& stop : request.stop)
    if (stop.empty()) throw Usage("--stop: the text is empty");
  require_model(request.options);
  if (request.file) request.prompt = read_text(*request.file);
  return true;
}

void say_speed(const Request& request, const puna_generate_result& result) {
  const auto rate = [](double tokens, double ms) { return ms > 0 ? tokens * 1000 / ms : 0; };
  say(request.options.quiet,
      fmt::format("prompt: {} tokens, {:.1f} ms ({:.0f} tokens/s); written: {} tokens, {:.1f} ms ({:.1f} tokens/s); "
                  "stopped by: {}",
                  result.prompt_tokens, result.prompt_ms, rate(result.prompt_tokens, result.prompt_ms), result.tokens,
                  result.decode_ms, rate(result.tokens, result.decode_ms), stop_name(result.stop)));
  if (!request.speculate.empty())
    say(request.options.quiet, fmt::format("guessed: {} tokens, {} of them right", result.proposed, result.accepted));
}

std::vector<std::int32_t> prompt_ids(const Request& request, const puna::Tokenizer& tokenizer) {
  if (request.ids) return *request.ids;
  if (!tokenizer) throw Failed(request.options.model + ": it has no tokenizer: give --tokenizer FILE, or --ids");
  puna::EncodeOptions encode;
  encode.parse_special = request.special;
  return tokenizer.encode(request.prompt.value_or(""), encode);
}

// The small model and its session.
struct Draft {
  std::optional<puna::Model> model;
  std::optional<puna::Session> session;
};

void open_draft(Draft& draft, const Request& request, const puna::Runtime& runtime, std::uint32_t context, Progress& progress,
                const Interrupt& interrupt) {
  Options options = request.options;
  options.model = request.speculate;
  options.sha256.clear();
  draft.model.emplace(open_model(options, runtime, progress, interrupt));
  puna::SessionOptions session = session_options(options);
  session.context = context;
  draft.session.emplace(*draft.model, session);
}

int generate(const Request& request) {
  const Interrupt interrupt;
  Progress progress(request.options.quiet);
  if (!request.options.json) progress.hide_decode();
  const puna::Runtime runtime = make_runtime(request.options);
  const puna::Model model = open_model(request.options, runtime, progress, interrupt);
  const puna::Tokenizer tokenizer = model.tokenizer();
  const std::vector<std::int32_t> prompt = prompt_ids(request, tokenizer);
  puna::SessionOptions room = session_options(request.options);
  if (!request.speculate.empty()) room.speculate = request.ahead.value_or(8);
  puna::Session session(model, room);
  use_adapters(session, model, request.adapters);
  Draft draft;
  if (!request.speculate.empty() && request.speculate != "ngram")
    open_draft(draft, request, runtime, room.context ? room.context : model.info().context, progress, interrupt);
  std::optional<puna::Sampler> sampler;
  if (request.sampling.wanted()) sampler = request.sampling.make(tokenizer);

  const std::string shown = request.prompt ? *request.prompt : tokenizer ? tokenizer.decode(prompt) : std::string();
  Answer answer(!request.options.json, shown, request.logprobs.has_value(), tokenizer, progress);
  std::vector<const char*> stops;
  for (const std::string& stop : request.stop) stops.push_back(stop.c_str());
  puna::GenerateOptions options;
  options.flags = (request.ignore_eos ? PUNA_GENERATE_IGNORE_EOS : 0);
  options.max_tokens = request.tokens;
  options.logprobs = request.logprobs.value_or(0);
  options.stop = stops.data();
  options.stop_count = static_cast<std::uint32_t>(stops.size());
  options.sampler = sampler ? sampler->get() : nullptr;
  options.prompt_ids = prompt.data();
  options.prompt_id_count = prompt.size();
  if (!request.speculate.empty()) options.speculate = draft.session ? PUNA_SPECULATE_DRAFT : PUNA_SPECULATE_SUFFIX;
  options.draft = draft.session ? draft.session->get() : nullptr;
  options.cancel = interrupt.token();
  options.progress = Progress::report;
  options.progress_user = &progress;
  options.on_token = Answer::on_token;
  options.on_token_user = &answer;

  puna_generate_result result{};
  bool cancelled = false;
  try {
    puna_job* raw = nullptr;
    puna::call(puna_session_generate_job, &raw, session.get(), nullptr, std::size_t{0}, &options, Answer::on_text,
               static_cast<void*>(&answer));
    puna::Job job(raw);
    job.step(-1);
    result = job.generated();
  } catch (const puna::Error& error) {
    progress.clear();
    answer.rethrow();
    if (error.code() != PUNA_E_CANCELLED) throw;
    cancelled = true;
  }
  progress.clear();
  answer.end_text();
  if (request.options.json) {
    Json out{{"text", answer.text()},
             {"ids", answer.ids()},
             {"prompt_ids", prompt},
             {"stop", stop_name(result.stop)},
             {"prompt_ms", result.prompt_ms},
             {"decode_ms", result.decode_ms}};
    if (request.logprobs) out["logprobs"] = answer.logprobs();
    if (!request.speculate.empty()) {
      out["proposed"] = result.proposed;
      out["accepted"] = result.accepted;
    }
    write_json(out);
  } else if (!cancelled) {
    say_speed(request, result);
  }
  if (cancelled) say(request.options.quiet, "puna: interrupted");
  return cancelled ? exit_interrupted : exit_ok;
}

}  // namespace

int run_generate(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? generate(request) : exit_ok;
}

}  // namespace cli
