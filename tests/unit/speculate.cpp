// Speculation against plain decoding: the same text, ids, log-probabilities, cache and ending, whatever is guessed.
#include <algorithm>
#include <map>

#include "../model_support.hpp"
#include "puna/base/rng.hpp"
#include "puna/io/weight_sink.hpp"
#include "puna/infer/generate.hpp"
#include "puna/slim/quantize.hpp"
#include "sampler_support.hpp"

using namespace puna;
using namespace puna_test;

namespace {

struct Event {
  std::int32_t id;
  std::string text;
  float logprob;
  std::vector<std::pair<std::int32_t, float>> top;
  bool operator==(const Event&) const = default;
};

struct Run {
  std::vector<Event> events;
  std::vector<std::int32_t> held;
  GenerateResult result;
  std::size_t code = 0;  // of an error that ended it

  std::string text() const {
    std::string all;
    for (const Event& e : events) all += e.text;
    return all;
  }
};

Run run(Session& session, std::string_view prompt, GenerateOptions o, double step_ms = -1, const CancelToken* cancel = nullptr,
        const std::function<std::int32_t(std::size_t)>& listener = {}) {
  Run r;
  o.on_token = [&](const TokenEvent& e) {
    Event event{e.id, std::string(e.text), e.logprob, {}};
    for (const TokenLogprob& t : e.top) event.top.emplace_back(t.id, t.logprob);
    r.events.push_back(std::move(event));
    return listener ? listener(r.events.size()) : 0;
  };
  try {
    Generator generator(session, prompt, o);
    const auto deadline = [&] { return step_ms < 0 ? Deadline() : Deadline::after(step_ms); };
    try {
      while (!generator.step(deadline(), cancel)) {
      }
    } catch (const Error& e) {
      r.code = static_cast<std::size_t>(e.code());
    }
    r.result = generator.result();
  } catch (const Error& e) {
    r.code = static_cast<std::size_t>(e.code());
  }
  const auto ids = session.cache().ids(o.sequence);
  r.held.assign(ids.begin(), ids.end());
  return r;
}

void check_same(const Run& plain, const Run& other) {
  CHECK(plain.code == other.code);
  CHECK(plain.events.size() == other.events.size());
  CHECK((plain.events == other.events));
  CHECK(plain.text() == other.text());
  CHECK(plain.held == other.held);
  CHECK(plain.result.stop == other.result.stop);
  CHECK(plain.result.tokens == other.result.tokens);
}

Session session_for(const std::shared_ptr<const Model>& model, std::uint32_t speculate, std::uint32_t context = 0) {
  SessionOptions o;
  o.speculate = speculate;
  o.context = context;
  return Session(model, o);
}

// Guesses by a script: the text of an earlier run, each token wrong with a given chance.
class Script final : public Proposer {
 public:
  Script(std::vector<std::int32_t> whole, double right, std::uint64_t seed) : whole_(std::move(whole)), right_(right), rng_(seed) {}
  void start(std::span<const std::int32_t>, std::span<const std::int32_t>) override {}
  void drawn(std::int32_t) override {}
  Offer offer(std::span<const std::int32_t> held, std::int32_t, std::uint32_t most) override {
    guesses_.clear();
    for (std::size_t at = held.size() + 1; guesses_.size() < most; ++at) {
      const std::int32_t id = at < whole_.size() ? whole_[at] : 5;
      guesses_.push_back(rng_.uniform() < right_ ? id : (id + 1) % 500);
    }
    const std::uint32_t kind = static_cast<std::uint32_t>(rng_.next() % kinds);
    return {static_cast<std::uint32_t>(rng_.next() % (most + 1)), kind};
  }
  bool step(std::uint32_t count, const Deadline&, const CancelToken*) override {
    guesses_.resize(count);
    return waits_++ % 3 != 0;  // sometimes it needs another step
  }
  std::span<const std::int32_t> guesses() const override { return guesses_; }
  double cost(std::uint32_t, double) const override { return 0; }

 private:
  std::vector<std::int32_t> whole_, guesses_;
  double right_;
  Rng rng_;
  int waits_ = 0;
};

// The tiny model in 4 bits: often the same opinion, not always.
std::shared_ptr<const Model> weak_tiny(const TempDir& folder) {
  const fs::path path = folder / "weak.gguf";
  if (!fs::exists(path)) {
    QuantizeOptions o;
    o.mix = &find_mix("q4_0");
    Quantizer q(make_runtime(), open_weights(fixture("tiny/model.gguf").string()), gguf_sink(path.string()), o);
    while (!q.step({}, nullptr)) {
    }
  }
  return load_model(path);
}

const std::vector<std::string> prompts{"Once upon a time",     "One day, a little girl", "Tom and his dog",  "The big red ball",
                                       "There was a bird who", "Mia liked to",           "In the garden,",   "\"Hello,\" said the",
                                       "Ben had a box",        "It was raining and",     "The cat saw a",    "",
                                       "She said no",          "He ran and ran and ran", "A a a a a a a a",  "The king",
                                       "They all went home",   "At night the moon",      "Sam was very sad", "Every morning Lily",
                                       "Do you want to play",  "The end.",               "Far away"};

// Over all prompts to the end of the context: how many tokens were compared, guessed, and right.
struct Totals {
  std::uint64_t tokens = 0, proposed = 0, accepted = 0;
};
Totals compare_greedy(const std::shared_ptr<const Model>& model, const std::shared_ptr<const Model>& draft_model, bool always) {
  Totals totals;
  Session plain = session_for(model, 0), other = session_for(model, 7);
  std::optional<Session> draft;
  if (draft_model) draft.emplace(draft_model, SessionOptions{});
  for (const std::string& prompt : prompts) {
    CAPTURE(prompt);
    GenerateOptions o;
    o.ignore_eos = true;
    o.logprobs = 3;
    const Run expected = run(plain, prompt, o);
    o.speculate = draft ? Speculate::draft : Speculate::suffix;
    o.draft = draft ? &*draft : nullptr;
    o.always_speculate = always;
    const Run got = run(other, prompt, o);
    check_same(expected, got);
    REQUIRE(got.code == 0);
    totals.tokens += got.result.tokens;
    totals.proposed += got.result.proposed;
    totals.accepted += got.result.accepted;
    plain.truncate(0, 0);
    other.truncate(0, 0);
  }
  return totals;
}

void check_totals(const char* name, const Totals& t) {
  MESSAGE(std::string(name) << ": " << t.tokens << " tokens, " << t.proposed << " guessed, " << t.accepted << " right");
  CHECK(t.tokens > 10000);
  CHECK(t.accepted > 0);
  CHECK(t.accepted < t.proposed);
}

}  // namespace

TEST_CASE("speculation: 10,000 greedy tokens and their log-probabilities are those of plain decoding, tiny model") {
  const TempDir folder;
  const auto model = load_model(fixture("tiny/model.gguf"));
  const auto weak = weak_tiny(folder);
  check_totals("suffix", compare_greedy(model, nullptr, true));
  check_totals("suffix, paced", compare_greedy(model, nullptr, false));
  check_totals("draft", compare_greedy(model, weak, true));
  compare_greedy(model, weak, false);
}
