// Text out of puna.h, against llama2.c's run.c at 350e04f (see shared data's README).
#include "support.hpp"

#include <cstring>
#include <sstream>

using namespace puna_test;

namespace {

struct Run {
  std::string text;
  std::vector<int32_t> ids;
  puna_generate_result result;
};

Run generate(const puna_model* model, const char* prompt, puna_generate_options options) {
  Run run{};
  const Session session = make_session(model);
  puna_job* raw = nullptr;
  PUNA_OKAY(puna_session_generate_job(&raw, session.get(), prompt, std::strlen(prompt), &options, append_text, &run.text, e));
  const Job job(raw);
  PUNA_OKAY(puna_job_step(job.get(), -1, nullptr, e));
  PUNA_OKAY(puna_job_generated(job.get(), &run.result, sizeof run.result, e));
  run.ids = sequence_ids(session.get());
  return run;
}

puna_generate_options tokens(uint32_t n) {
  puna_generate_options options;
  puna_generate_options_init(&options, sizeof options);
  options.max_tokens = n;
  return options;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

TEST_CASE("stories260K: greedy text and ids of run.c, from .bin and GGUF") {
  PUNA_SHARED(dir, "models/stories260K");
  puna_source tokenizer;
  puna_source_init(&tokenizer, sizeof tokenizer);
  const std::string tok = (dir / "tok512.bin").string();
  tokenizer.path = tok.c_str();
  puna_model_options bin;
  puna_model_options_init(&bin, sizeof bin);
  bin.tokenizer = &tokenizer;
  const std::string prompt = "Once upon a time";
  std::istringstream in(read_text(dir / "expected_ids.t0.n200.run_c.txt"));
  std::vector<int32_t> expected;  // BOS and the prompt's four included
  for (int32_t id; in >> id;) expected.push_back(id);
  REQUIRE(expected.size() == 200);
  for (const bool gguf : {false, true}) {
    CAPTURE(gguf);
    const Model model = open_model(dir / (gguf ? "stories260K.gguf" : "stories260K.bin"), nullptr, gguf ? nullptr : &bin);
    // run.c's 200 steps print 200 tokens after BOS, the prompt's four included.
    const auto run = generate(model.get(), prompt.c_str(), tokens(196));
    REQUIRE(run.ids.size() == 201);
    CHECK(std::vector<int32_t>(run.ids.begin(), run.ids.end() - 1) == expected);
    CHECK(trimmed(prompt + run.text) == trimmed(read_text(dir / "expected.txt")));
    CHECK(run.result.stop == PUNA_STOP_LENGTH);
    CHECK(run.result.prompt_tokens == 5);
    CHECK(run.result.tokens == 196);
    // Without a prompt run.c starts from BOS alone, and its first piece loses its space.
    const auto free = generate(model.get(), "", tokens(200));
    const std::string all = trimmed(read_text(dir / "expected.run_c.t0.n200.noprompt.txt"));
    CHECK(trimmed(free.text).substr(0, all.size()) == all);
  }
}

TEST_CASE("stop strings, also across token borders, and log-probabilities") {
  PUNA_SHARED(dir, "models/stories260K");
  const Model model = open_model(dir / "stories260K.gguf");
  const char* stop[] = {"little gi"};
  auto options = tokens(100);
  options.stop = stop;
  options.stop_count = 1;
  const auto run = generate(model.get(), "Once upon a time", options);
  CHECK(run.text == ", there was a ");
  CHECK(run.result.stop == PUNA_STOP_STRING);

  struct Seen {
    int events = 0;
    std::string text;
  } seen;
  auto with = tokens(20);
  with.logprobs = 5;
  with.on_token_user = &seen;
  with.on_token = [](void* user, const puna_token_event* event) -> int32_t {
    auto& s = *static_cast<Seen*>(user);
    ++s.events;
    s.text.append(event->text, event->text_length);
    REQUIRE(event->top_count == 5);
    CHECK(event->top[0].id == event->id);  // greedy draws the likeliest
    CHECK(event->top[0].logprob == event->logprob);
    for (uint32_t i = 1; i < 5; ++i) CHECK(event->top[i].logprob <= event->top[i - 1].logprob);
    CHECK(event->logprob <= 0.0f);
    return 0;
  };
  const auto told = generate(model.get(), "Once upon a time", with);
  CHECK(seen.events == 20);
  CHECK(seen.text == told.text);
}

TEST_CASE("a seed makes sampled text repeat, and another seed another text") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  const auto draw = [&](uint64_t seed) {
    puna_sampler* raw = nullptr;
    PUNA_OKAY(puna_sampler_create(&raw, seed, e));
    const Sampler sampler(raw);
    PUNA_OKAY(puna_sampler_add_top_p(raw, 0.95, e));
    PUNA_OKAY(puna_sampler_add_temperature(raw, 1.0, e));
    auto options = tokens(60);
    options.sampler = raw;
    return generate(model.get(), "Once upon a time", options).text;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));
}

TEST_CASE("the context fills up with a reason, and a prompt too long is refused whole") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  puna_session_options small;
  puna_session_options_init(&small, sizeof small);
  small.context = 32;
  const Session session = make_session(model.get(), &small);
  auto options = tokens(0);
  options.flags = PUNA_GENERATE_IGNORE_EOS;
  puna_job* raw = nullptr;
  PUNA_OKAY(puna_session_generate_job(&raw, session.get(), "Once", 4, &options, nullptr, nullptr, e));
  const Job job(raw);
  PUNA_OKAY(puna_job_step(raw, -1, nullptr, e));
  puna_generate_result result;
  PUNA_OKAY(puna_job_generated(raw, &result, sizeof result, e));
  CHECK(result.stop == PUNA_STOP_CONTEXT);
  CHECK(sequence_ids(session.get()).size() == 32);
  Error error;
  const std::string prompt(4000, 'x');
  CHECK(puna_session_generate(session.get(), prompt.data(), prompt.size(), nullptr, nullptr, nullptr, &error) == PUNA_E_CONTEXT_FULL);
  CHECK(std::string(error.text).find("32") != std::string::npos);
  CHECK(sequence_ids(session.get()).size() == 32);
}

TEST_CASE("bad calls get a status and a message with the value") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  const Session session = make_session(model.get());
  Error error;
  const auto says = [&](const char* text) { return std::string(error.text).find(text) != std::string::npos; };
  CHECK(puna_session_generate(session.get(), "\xff\xfe", 2, nullptr, nullptr, nullptr, &error) == PUNA_E_ENCODING);
  CHECK(puna_session_generate(nullptr, "x", 1, nullptr, nullptr, nullptr, &error) == PUNA_E_ARGUMENT);
  puna_batch batch;
  puna_batch_init(&batch, sizeof batch);
  const int32_t ids[] = {1, 1 << 20};
  batch.ids = ids;
  batch.count = 2;
  CHECK(puna_session_feed(session.get(), &batch, &error) == PUNA_E_ARGUMENT);
  CHECK(says("1048576"));
  const int32_t negative[] = {-1, 5};
  batch.ids = negative;
  CHECK(puna_session_feed(session.get(), &batch, &error) == PUNA_E_ARGUMENT);
  const int32_t good[] = {1, 5};
  batch.ids = good;
  const uint32_t sequences[] = {0, 9};
  batch.sequences = sequences;
  CHECK(puna_session_feed(session.get(), &batch, &error) == PUNA_E_ARGUMENT);
  batch.sequences = nullptr;
  const uint32_t positions[] = {3, 4};
  batch.positions = positions;
  CHECK(puna_session_feed(session.get(), &batch, &error) == PUNA_E_ARGUMENT);
  CHECK(says("position 3"));
  uint32_t length = 7;
  CHECK(puna_session_truncate(session.get(), 0, 5, &error) == PUNA_E_ARGUMENT);
  CHECK(puna_session_length(session.get(), 4, &length, &error) == PUNA_E_ARGUMENT);
  CHECK(length == 7);  // untouched
  const float* logits = nullptr;
  CHECK(puna_session_logits(session.get(), 0, &logits, nullptr, &error) == PUNA_E_ARGUMENT);
  puna_model* none = nullptr;
  CHECK(puna_model_open(&none, nullptr, "no/such/file.gguf", nullptr, &error) == PUNA_E_IO);
  CHECK(says("no/such/file.gguf"));
  CHECK(none == nullptr);
  puna_session_options options;
  puna_session_options_init(&options, sizeof options);
  options.cache_type = 77;
  puna_session* no_session = nullptr;
  CHECK(puna_session_create(&no_session, model.get(), &options, &error) == PUNA_E_ARGUMENT);
  CHECK(says("77"));
}

TEST_CASE("logits of chosen positions; embeddings give what their ids give") {
  const Model model = open_model(fixture("gguf/f32.gguf"));
  puna_model_info info;
  PUNA_OKAY(puna_model_get_info(model.get(), &info, sizeof info, e));
  puna_session_options options;
  puna_session_options_init(&options, sizeof options);
  options.max_logits = 3;
  const Session session = make_session(model.get(), &options);
  puna_batch batch;
  puna_batch_init(&batch, sizeof batch);
  const int32_t ids[] = {1, 5, 9};
  const uint8_t want[] = {1, 0, 1};
  batch.ids = ids;
  batch.count = 3;
  batch.want_logits = want;
  PUNA_OKAY(puna_session_feed(session.get(), &batch, e));
  const float* row = nullptr;
  size_t n = 0;
  PUNA_OKAY(puna_session_logits(session.get(), 2, &row, &n, e));
  CHECK(n == info.vocab);
  const std::vector<float> last(row, row + n);
  Error error;
  CHECK(puna_session_logits(session.get(), 1, &row, &n, &error) == PUNA_E_ARGUMENT);
  // The same first token, given as an embedding of zeros, must change the logits; ids of embeddings read as -1.
  PUNA_OKAY(puna_session_drop(session.get(), 0, e));
  const std::vector<float> zeros(3 * info.dim, 0.25f);
  batch.ids = nullptr;
  batch.embeddings = zeros.data();
  PUNA_OKAY(puna_session_feed(session.get(), &batch, e));
  PUNA_OKAY(puna_session_logits(session.get(), 2, &row, &n, e));
  CHECK(std::vector<float>(row, row + n) != last);
  CHECK(sequence_ids(session.get()) == std::vector<int32_t>{-1, -1, -1});
}
