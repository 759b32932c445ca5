// Each step against transformers and llama.cpp (fixtures made by tests/fixtures/scripts/make_sampler.py).
#include <algorithm>
#include <set>

#include "sampler_support.hpp"

using namespace puna;
using namespace puna_test;

namespace {

using Words = std::vector<std::string>;

void add_step(Sampler& s, const Words& w) {  // w: "case", source, step, parameters
  const auto real_at = [&](std::size_t i) { return real(w.at(3 + i)); };
  const auto whole_at = [&](std::size_t i) { return static_cast<std::uint32_t>(whole(w.at(3 + i))); };
  const std::string& step = w.at(2);
  if (step == "top_k") s.add_top_k(whole_at(0));
  else if (step == "top_p") s.add_top_p(real_at(0), whole_at(1));
  else if (step == "min_p") s.add_min_p(real_at(0));
  else if (step == "typical") s.add_typical(real_at(0));
  else if (step == "temperature") s.add_temperature(real_at(0));
  else if (step == "penalties") s.add_penalties(whole_at(0), real_at(1), real_at(2), real_at(3));
  else if (step == "dry") {
    std::vector<std::vector<std::int32_t>> breakers;
    for (std::size_t i = 7; i < w.size(); ++i) {
      if (w[i] == "breaker") breakers.emplace_back();
      else breakers.back().push_back(static_cast<std::int32_t>(whole(w[i])));
    }
    s.add_dry(real_at(0), real_at(1), whole_at(2), whole_at(3), breakers);
  } else {
    FAIL("unknown step " << step);
  }
}

std::string text_of(const Words& words) {
  std::string out;
  for (const auto& w : words) out += w + " ";
  return out;
}

}  // namespace

TEST_CASE("every step leaves the tokens and logits that transformers and llama.cpp leave") {
  Words header;
  std::vector<float> logits;
  std::vector<std::int32_t> history;
  std::set<std::string> kinds;
  int cases = 0;
  for (const auto& line : fixture_lines("steps.txt")) {
    if (line[0] == "case") {
      header = line;
      history.clear();
    } else if (line[0] == "row") {
      logits = row_of(line);
    } else if (line[0] == "history") {
      history = ids_of(line);
    } else {
      ++cases;
      kinds.insert(header[1] + " " + header[2]);
      Sampler s;
      add_step(s, header);
      REQUIRE(s.steps().size() == 1);
      Memory memory;
      Candidates c;
      c.prepare(memory, logits.size(), std::max<std::size_t>(history.size(), 1));
      c.load(logits);
      std::visit([&](const auto& step) { step.apply(c, history); }, s.steps()[0]);
      INFO(text_of(header), " of ", logits.size());
      REQUIRE(c.size() == line.size() - 1);
      for (std::size_t i = 0; i < c.size(); ++i) {
        const auto colon = line[i + 1].find(':');
        REQUIRE(c.ids()[i] == static_cast<std::int32_t>(whole(line[i + 1].substr(0, colon))));
        CHECK(c.logits()[i] == doctest::Approx(real(line[i + 1].substr(colon + 1))).epsilon(1e-6));
      }
    }
  }
  CHECK(cases == 143);
  CHECK(kinds.size() == 13);
}

TEST_CASE("mirostat keeps what llama.cpp's keeps while mu moves with its draws") {
  MirostatStep step{0, 0, 0};
  std::vector<float> logits;
  std::vector<std::int32_t> left;
  int rows = 0;
  for (const auto& line : fixture_lines("mirostat.txt")) {
    if (line[0] == "run") step = {real(line[1]), real(line[2]), 2 * real(line[1])};
    if (line[0] == "row") logits = row_of(line);
    if (line[0] == "left") left = ids_of(line);
    if (line[0] != "chosen") continue;
    ++rows;
    Memory memory;
    Candidates c;
    c.prepare(memory, logits.size(), 1);
    c.load(logits);
    step.apply(c, {});
    INFO("tau ", step.tau, " eta ", step.eta, " mu ", step.mu);
    REQUIRE(std::vector<std::int32_t>(c.ids().begin(), c.ids().end()) == left);
    const double total = c.weigh();
    for (std::size_t i = 0; i < c.size(); ++i)
      if (c.ids()[i] == static_cast<std::int32_t>(whole(line[1]))) {
        step.observe(c.weights()[i] / total);
        break;
      }
  }
  CHECK(rows == 100);
}

TEST_CASE("the order of candidates: larger logit, then lower id, and -0 is +0") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> descending{inf, 3e38f, 1, 1e-45f, 0.0f, -1e-45f, -1, -3e38f, -inf};
  for (std::size_t i = 0; i + 1 < descending.size(); ++i)
    CHECK(Candidates::likely_first(descending[i], 9) < Candidates::likely_first(descending[i + 1], 0));
  CHECK(Candidates::likely_first(-0.0f, 5) == Candidates::likely_first(0.0f, 5));
  CHECK(Candidates::likely_first(1, 4) < Candidates::likely_first(1, 5));
}

TEST_CASE("the radix sort is a sort, for keys that differ in any bit") {
  Rng rng(3);
  Memory memory;
  for (const std::size_t n : {200, 257, 5000}) {
    Candidates c;
    c.prepare(memory, n, 0);
    for (int kind = 0; kind < 3; ++kind) {
      std::vector<std::uint64_t> keys(n);
      for (std::size_t i = 0; i < n; ++i) {  // a few bits only, then any
        const std::uint64_t high = kind == 0 ? rng.next() % 8 : kind == 1 ? rng.next() % 8 << 29 : rng.next() >> 32;
        keys[i] = c.keys()[i] = high << 32 | i;
      }
      c.sort_keys(n);
      std::sort(keys.begin(), keys.end());
      REQUIRE(std::equal(keys.begin(), keys.end(), c.keys()));
    }
  }
}

// For each token, by definition: how far back the end of the history agrees with what came before that token.
TEST_CASE("DRY on looping histories is its definition") {
  Rng rng(8);
  Memory memory;
  for (int round = 0; round < 3000; ++round) {
    const auto letters = static_cast<std::int32_t>(2 + rng.next() % 2);
    std::vector<std::int32_t> h(1 + rng.next() % 40);
    for (auto& id : h) id = static_cast<std::int32_t>(rng.next() % letters);
    if (round % 2)  // a loop with a break in it
      for (std::size_t i = 0; i < h.size(); ++i) h[i] = h[i % (1 + h.size() / 5)];
    h[h.size() / 3] = 0;
    const std::vector<float> zeros(static_cast<std::size_t>(letters), 0.0f);
    Candidates c;
    c.prepare(memory, zeros.size(), h.size());
    c.load(zeros);
    DryStep{1, 1.5, 2, whole_history, {}}.apply(c, h);
    for (std::int32_t id = 0; id < letters; ++id) {
      std::size_t longest = 0;
      for (std::size_t at = 0; at < h.size(); ++at) {
        std::size_t n = 0;
        while (h[at] == id && n < at && h[at - 1 - n] == h[h.size() - 1 - n]) ++n;
        longest = std::max(longest, n);
      }
      const double penalty = longest < 2 ? 0 : std::pow(1.5, static_cast<double>(longest - 2));
      REQUIRE(c.logits()[id] == doctest::Approx(-penalty).epsilon(1e-6));
    }
  }
}

// The selection of top-k and the preselection and radix sort of top-p, against sorting everything.
TEST_CASE("top-k and top-p keep a prefix of the full order, with ties, at every size") {
  for (const std::size_t n : {2, 30, 257, 3000}) {
    for (const double scale : {0.02, 4.0, 40.0}) {
      auto logits = row(n, n, scale);
      for (float& x : logits) x = std::round(x * 8) / 8;  // many equal logits
      std::vector<std::uint64_t> order;
      for (std::size_t i = 0; i < n; ++i) order.push_back(Candidates::likely_first(logits[i], i));
      std::sort(order.begin(), order.end());
      std::vector<TokenProbability> kept;
      const auto check = [&](Sampler& s, std::size_t count) {
        s.distribution(logits, kept);
        REQUIRE(kept.size() == count);
        std::set<std::int32_t> expected;
        for (std::size_t i = 0; i < count; ++i) expected.insert(static_cast<std::int32_t>(Candidates::place_of(order[i])));
        for (const auto& token : kept) REQUIRE(expected.count(token.id) == 1);
      };
      for (const std::size_t k : {std::size_t{1}, n / 3 + 1, n - 1}) {
        Sampler s;
        s.add_top_k(static_cast<std::uint32_t>(k));
        check(s, k);
      }
      long double total = 0;
      for (const float x : logits) total += std::exp(static_cast<long double>(x));
      for (const double p : {1e-9, 0.30011, 0.90011, 0.9999111}) {  // never k / n
        long double before = 0;
        std::size_t count = 0;
        while (count < n && before / total <= static_cast<long double>(p))
          before += std::exp(static_cast<long double>(logits[Candidates::place_of(order[count++])]));
        Sampler s;
        s.add_top_p(p);
        check(s, count);
      }
    }
  }
}
