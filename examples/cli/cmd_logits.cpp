#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "files.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

struct Request {
  Options options;
  std::optional<std::vector<std::int32_t>> ids;
  std::optional<std::string> out;
  std::uint32_t chunk = 512;
};

bool parse(const Arguments& arguments, Request& request) {
  CommandLine line("logits",
                   "The scores of every next token after each of the given tokens, float32 [tokens, vocabulary],\n"
                   "in NumPy's .npy format. The ids are taken exactly as given.",
                   "  puna logits -m stories.gguf --ids 1,403,407,261 --out logits.npy");
  line.ids("--ids", request.ids, "the tokens");
  line.text("--out", request.out, "FILE.npy", "where to write them");
  line.integer("--chunk", request.chunk, 1, 1u << 20,
               "tokens computed together; default 512. The numbers do not depend on it");
  line.add_model();
  line.add_machine();
  line.add_cache();
  line.add_output();
  if (!line.parse(arguments)) return false;
  request.options = line.options();
  if (!request.ids || !request.out) throw Usage("--ids and --out are needed");
  require_model(request.options);
  return true;
}

// Feeds ids[begin, begin + count) and appends each one's row.
void feed_chunk(puna::Session& session, puna::Ids ids, const Interrupt& interrupt, NpyMatrix& out) {
  const std::vector<std::uint8_t> all(ids.size, 1);
  puna::Batch batch;
  batch.ids = ids.data;
  batch.count = static_cast<std::uint32_t>(ids.size);
  batch.want_logits = all.data();
  puna_job* raw = nullptr;
  puna::call(puna_session_feed_job, &raw, session.get(), &batch, interrupt.token());
  puna::Job job(raw);
  job.step(-1);
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const puna::Span<const float> row = session.logits(i);
    out.append(row.data, row.size);
  }
}

int logits(const Request& request) {
  const Interrupt interrupt;
  Progress progress(request.options.quiet);
  const puna::Runtime runtime = make_runtime(request.options);
  // Ids come in and numbers go out: no tokenizer is needed.
  const puna::Model model = open_model(request.options, runtime, progress, interrupt, PUNA_MODEL_NO_TOKENIZER);
  const auto total = static_cast<std::uint32_t>(request.ids->size());
  const std::uint32_t chunk = std::min(request.chunk, total);
  puna::SessionOptions options = session_options(request.options);
  // Room for exactly these, which is also what dynamic rope scaling takes as the length.
  if (options.context == 0) options.context = total;
  options.batch = chunk;
  options.max_logits = chunk;
  puna::Session session(model, options);

  const std::uint32_t vocab = model.info().vocab;
  NpyMatrix out(*request.out, total, vocab);
  puna_progress shown{};
  shown.phase = PUNA_PHASE_PROMPT;
  shown.total = total;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t done = 0; done < total; done += chunk) {
    feed_chunk(session, {request.ids->data() + done, std::min(chunk, total - done)}, interrupt, out);
    shown.done = std::min(done + chunk, total);
    shown.elapsed_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    progress.draw(shown);
  }
  out.commit();
  progress.clear();
  if (request.options.json)
    write_json({{"shape", {total, vocab}}, {"file", *request.out}});
  else
    say(request.options.quiet, fmt::format("wrote {} x {} logits to {}", total, vocab, *request.out));
  return exit_ok;
}

}  // namespace

int run_logits(const Arguments& arguments) {
  Request request;
  return parse(arguments, request) ? logits(request) : exit_ok;
}

}  // namespace cli
