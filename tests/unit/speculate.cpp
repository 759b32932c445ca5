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
// Tokens to compare; under a sanitizer fewer, for it takes an hour there.
std::uint64_t enough() { return sanitized() ? 1000 : 10000; }

Totals compare_greedy(const std::shared_ptr<const Model>& model, const std::shared_ptr<const Model>& draft_model, bool always) {
  Totals totals;
  Session plain = session_for(model, 0), other = session_for(model, 7);
  std::optional<Session> draft;
  if (draft_model) draft.emplace(draft_model, SessionOptions{});
  for (const std::string& prompt : prompts) {
    if (totals.tokens > enough() + enough() / 10) break;
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
  CHECK(t.tokens > enough());
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

TEST_CASE("speculation: 10,000 greedy tokens are those of plain decoding, stories260K") {
  PUNA_SHARED(dir, "models/stories260K");
  const auto model = load_model(dir / "stories260K.gguf");
  check_totals("suffix", compare_greedy(model, nullptr, true));
  // The same weights as its own draft: all guesses of a greedy draft are right, but for those past an end.
  const Totals t = compare_greedy(model, model, true);
  CHECK(t.tokens > enough());
  CHECK(t.accepted > t.proposed * 9 / 10);
}

TEST_CASE("speculation: a seed keeps its text, whatever the chain and its state") {
  const TempDir folder;
  const auto model = load_model(fixture("tiny/model.gguf"));
  Session plain = session_for(model, 0), other = session_for(model, 5);
  Session draft(weak_tiny(folder), SessionOptions{});
  // Counts and bends the rows it sees: each drawn token's row once, in order.
  struct Watch {
    std::vector<std::vector<std::int32_t>> seen;
  };
  const LogitsCallback watch = [](void* user, float* logits, std::size_t, const std::int32_t* history, std::size_t n) -> std::int32_t {
    auto& w = *static_cast<Watch*>(user);
    w.seen.emplace_back(history, history + n);
    logits[w.seen.size() % 100 + 3] += 2;
    return 0;
  };
  const auto build = [&](int chain, Sampler& s, Watch& w) {
    if (chain == 0) s.add_temperature(0.8);
    if (chain == 1) s.add_top_p(0.9), s.add_temperature(1.2);
    if (chain == 2) s.add_penalties(64, 1.3, 0.2, 0.1), s.add_temperature(0.7);
    if (chain == 3) s.add_dry(0.8, 1.75, 2, whole_history), s.add_top_k(20);
    if (chain == 4) s.add_temperature(1), s.add_mirostat2(3, 0.1);
    if (chain == 5) s.add_callback(watch, &w), s.add_temperature(0.5);
    if (chain == 6) s.add_penalties(64, 1.3, 0, 0), s.add_greedy();
  };
  std::uint64_t accepted = 0, proposed = 0;
  for (int chain = 0; chain < 7; ++chain) {
    for (const Speculate kind : {Speculate::suffix, Speculate::draft}) {
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        CAPTURE(chain);
        CAPTURE(seed);
        Sampler a(seed), b(seed);
        Watch seen_a, seen_b;
        build(chain, a, seen_a);
        build(chain, b, seen_b);
        GenerateOptions o;
        o.max_tokens = 200;
        o.ignore_eos = true;
        o.sampler = &a;
        const Run expected = run(plain, prompts[seed], o);
        o.sampler = &b;
        o.speculate = kind;
        o.draft = &draft;
        o.always_speculate = true;
        const Run got = run(other, prompts[seed], o);
        check_same(expected, got);
        CHECK(a.save() == b.save());
        CHECK((seen_a.seen == seen_b.seen));
        accepted += got.result.accepted;
        proposed += got.result.proposed;
        plain.truncate(0, 0);
        other.truncate(0, 0);
      }
    }
  }
  MESSAGE(proposed << " guessed, " << accepted << " right");
  CHECK(accepted > 0);
  CHECK(accepted < proposed);
}

TEST_CASE("speculation: 20,000 sampled continuations follow the exact distribution of their tokens") {
  const TempDir folder;
  const auto model = load_model(fixture("tiny/model.gguf"));
  // The exact chances of the first two tokens after the prompt, from teacher-forced rows and the chain's own softmax.
  // A text that says itself again, so that suffixes match at once.
  const std::string prompt = "Once upon a time, there was a little girl. Once upon a time, there was a";
  EncodeOptions with_bos;
  with_bos.bos = true;
  const std::vector<std::int32_t> ids = model->tokenizer()->encode(prompt, with_bos);
  const auto chain = [](std::uint64_t seed) {
    Sampler s(seed);
    s.add_top_k(12);
    s.add_temperature(1.3);
    return s;
  };
  const auto chances = [&](std::vector<std::int32_t> all) {
    const std::vector<float> rows = run_logits(model, all, 512, DType::f16);
    const std::size_t V = model->config().V;
    Sampler s = chain(0);
    std::vector<TokenProbability> p;
    s.distribution(std::span(rows).last(V), p);
    return p;
  };
  std::map<std::vector<std::int32_t>, double> exact;
  for (const auto& first : chances(ids)) {
    auto with = ids;
    with.push_back(first.id);
    for (const auto& second : chances(with)) exact[{first.id, second.id}] += first.probability * second.probability;
  }
  Session draft(weak_tiny(folder), SessionOptions{});
  Session session = session_for(model, 3);
  const auto before = static_cast<std::uint32_t>(ids.size()) - 1;
  FeedInput beginning;
  beginning.ids = std::span(ids).first(before);
  beginning.count = before;
  session.feed(beginning);
  for (const Speculate kind : {Speculate::suffix, Speculate::draft}) {
    std::map<std::vector<std::int32_t>, double> seen;
    constexpr int draws = 20000;
    std::uint64_t proposed = 0, accepted = 0;
    for (int i = 0; i < draws; ++i) {
      Sampler s = chain(static_cast<std::uint64_t>(i) * 2 + 7 + static_cast<std::uint64_t>(kind));
      GenerateOptions o;
      o.max_tokens = 4;  // the second is computed as a guess
      o.ignore_eos = true;
      o.sampler = &s;
      o.speculate = kind;
      o.draft = &draft;
      o.always_speculate = true;
      o.prompt_ids = {ids.back()};
      o.ids_given = true;
      const Run r = run(session, "", o);
      REQUIRE(r.result.tokens == 4);
      proposed += r.result.proposed;
      accepted += r.result.accepted;
      ++seen[{r.held[ids.size()], r.held[ids.size() + 1]}];
      session.truncate(0, before);
    }
    double statistic = 0, rest_expected = 0, rest_seen = draws;
    int cells = 0;
    for (const auto& [pair, p] : exact) {
      if (p * draws < 5) continue;
      const double expected = p * draws;
      statistic += (seen[pair] - expected) * (seen[pair] - expected) / expected;
      rest_expected -= expected;
      rest_seen -= seen[pair];
      ++cells;
    }
    rest_expected += draws;
    if (rest_expected >= 5) statistic += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected, ++cells;
    const double p = chi_square_tail(statistic, cells - 1);
    MESSAGE("chi-square " << statistic << " over " << cells << " cells, p = " << p << "; " << proposed << " guessed, " << accepted << " right");
    CHECK(accepted > draws / 10);
    CHECK(accepted < proposed);
    CHECK(cells > 30);
    CHECK(p > 1e-3);
  }
}

TEST_CASE("speculation: stops, limits, callbacks, cancel and step budgets mean what they mean without it") {
  const auto model = load_model(fixture("tiny/model.gguf"));
  constexpr std::uint32_t context = 120;
  Session plain = session_for(model, 0, context), other = session_for(model, 6, context);
  GenerateOptions whole;
  whole.ignore_eos = true;
  const Run all = run(plain, prompts[0], whole);
  CHECK(all.result.stop == StopCause::context);
  plain.truncate(0, 0);
  std::uint64_t accepted = 0, proposed = 0;
  const auto compare = [&](const GenerateOptions& o, const std::function<std::int32_t(std::size_t)>& listener = {},
                           const CancelToken* cancel = nullptr) {
    const Run expected = run(plain, prompts[0], o, -1, cancel, listener);
    for (const double right : {0.0, 0.5, 0.8, 1.0}) {
      for (const double budget : {-1.0, 0.0}) {
        CAPTURE(right);
        CAPTURE(budget);
        Script script(all.held, right, 7);
        GenerateOptions with = o;
        with.proposer = &script;
        with.always_speculate = true;
        const Run got = run(other, prompts[0], with, budget, cancel, listener);
        check_same(expected, got);
        accepted += got.result.accepted;
        proposed += got.result.proposed;
        if (right == 1.0 && !cancel && !listener && got.result.tokens > 30) CHECK(got.result.accepted > got.result.tokens / 3);
        other.truncate(0, 0);
      }
    }
    plain.truncate(0, 0);
    return expected;
  };
  GenerateOptions o;
  CHECK(compare(whole).held.size() == context);
  for (std::uint32_t n = 1; n <= 40; ++n) {
    o = whole;
    o.max_tokens = n;
    CHECK(compare(o).result.tokens == n);
  }
  // Each word of the text as a stop string, and one that never comes.
  const std::string text = all.text();
  for (std::size_t at = 3; at + 6 < text.size(); at += 29) {
    o = whole;
    o.stop = {text.substr(at, 5)};
    CHECK(compare(o).result.stop == StopCause::stop_string);
  }
  o = whole;
  o.stop = {"xyzzy"};
  o.logprobs = 2;
  compare(o);
  compare({});  // to the end of the text
  // A host that says no at its nth token.
  for (std::size_t n = 1; n <= 30; n += 3)
    CHECK(compare(whole, [n](std::size_t count) { return count == n ? 1 : 0; }).code == static_cast<std::size_t>(Code::callback));
  MESSAGE(proposed << " guessed, " << accepted << " right");
  CHECK(accepted > 1000);
  // A cancel from within the nth token's callback.
  for (std::size_t n = 1; n <= 30; n += 3) {
    for (const bool guess : {false, true}) {
      const auto token = std::make_shared<CancelToken>();
      Script script(all.held, 0.8, 9);
      o = whole;
      if (guess) o.proposer = &script;
      o.always_speculate = true;
      Session& session = guess ? other : plain;
      const Run r = run(session, prompts[0], o, -1, token.get(), [&](std::size_t count) { return count == n ? (token->trip(), 0) : 0; });
      CHECK(r.code == static_cast<std::size_t>(Code::cancelled));
      CHECK(r.events.size() == n);
      CHECK(r.held == std::vector<std::int32_t>(all.held.begin(), all.held.begin() + static_cast<std::ptrdiff_t>(r.result.prompt_tokens + n - 1)));
      session.truncate(0, 0);
    }
  }
}

TEST_CASE("speculation: a sequence in company, a second turn, and a session that has no room for it") {
  const TempDir folder;
  const auto model = load_model(fixture("tiny/model.gguf"));
  const auto weak = weak_tiny(folder);
  const auto session_of = [&](std::uint32_t speculate) {
    SessionOptions o;
    o.sequences = 3;
    o.cache_tokens = 200;  // less than one context: the room ends before it
    o.speculate = speculate;
    return Session(model, o);
  };
  SessionOptions short_draft;
  short_draft.context = 100;  // it falls out on the way
  short_draft.sequences = 2;
  for (const Speculate kind : {Speculate::suffix, Speculate::draft}) {
    Session plain = session_of(0), other = session_of(8), draft(weak, short_draft);
    GenerateOptions o;
    o.ignore_eos = true;
    o.max_tokens = 50;
    o.sequence = 1;
    GenerateOptions with = o;
    with.speculate = kind;
    with.draft = &draft;
    with.draft_sequence = 1;
    with.always_speculate = true;
    check_same(run(plain, prompts[1], o), run(other, prompts[1], with));
    plain.fork(1, 2);
    other.fork(1, 2);
    o.max_tokens = with.max_tokens = 0;
    o.sequence = with.sequence = 2;
    const Run expected = run(plain, " They ran.", o);
    const Run got = run(other, " They ran.", with);
    check_same(expected, got);
    CHECK(got.result.stop == StopCause::context);
    CHECK(got.result.proposed > 0);
    CHECK(std::ranges::equal(plain.cache().ids(1), other.cache().ids(1)));
  }
  Session none = session_for(model, 0);
  GenerateOptions o;
  o.speculate = Speculate::suffix;
  CHECK_THROWS_AS(Generator(none, prompts[0], o), Error);
  Session room = session_for(model, 4);
  o.speculate = Speculate::draft;
  CHECK_THROWS_AS(Generator(room, prompts[0], o), Error);
  o.draft = &room;
  CHECK_THROWS_AS(Generator(room, prompts[0], o), Error);
  Session stranger(load_model(fixture("gguf/f32.gguf")), SessionOptions{});
  o.draft = &stranger;
  CHECK_THROWS_AS(Generator(room, prompts[0], o), Error);
  CHECK(room.length(0) == 0);
}

TEST_CASE("speculation: the suffix index finds what a plain search finds, within its window") {
  Memory memory;
  for (const std::uint32_t vocab : {2u, 5u, 40u}) {
    SuffixIndex index(memory, 64);
    CHECK(memory.used() == SuffixIndex::bytes(64));
    Rng rng(vocab);
    std::vector<std::int32_t> text;
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 60; ++i) {  // less than the window, so that a plain search sees the same
        const auto id = static_cast<std::int32_t>(rng.next() % vocab);
        index.append(id);
        text.push_back(id);
        std::vector<std::int32_t> out(6);
        std::uint32_t match = 0;
        const std::uint32_t count = index.propose(out, match);
        std::size_t longest = 0;
        for (std::size_t end = 2; end < text.size(); ++end) {
          std::size_t n = 0;
          while (n < end && text[end - 1 - n] == text[text.size() - 1 - n]) ++n;
          longest = std::max(longest, n);
        }
        if (longest < 2) {
          CHECK(count == 0);
          continue;
        }
        REQUIRE(count == 6);
        CHECK(match <= longest);
        if (vocab == 40) CHECK(match == longest);  // chains are short: all of it was looked at
        // What it says did follow those `match` tokens once, or repeats from there.
        bool found = false;
        for (std::size_t end = match; end < text.size(); ++end) {
          bool same = std::equal(text.end() - match, text.end(), text.begin() + static_cast<std::ptrdiff_t>(end - match));
          for (std::size_t j = 0; j < 6; ++j) same = same && out[j] == (end + j < text.size() ? text[end + j] : out[end + j - text.size()]);
          found = found || same;
        }
        CHECK(found);
      }
      index.clear();
      text.clear();
    }
    for (int i = 0; i < 1000; ++i) index.append(i % 300);  // forgets: no crash, no stale match
    std::vector<std::int32_t> out(3);
    std::uint32_t match = 0;
    CHECK(index.propose(out, match) == 0);
  }
}
