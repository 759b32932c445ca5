// Draws: the exact distribution (chi-square over 100,000), and the very tokens that exact arithmetic draws.
#include <algorithm>
#include <functional>
#include <map>

#include "sampler_support.hpp"

using namespace puna;
using namespace puna_test;

namespace {

using Real = long double;
using Table = std::map<std::int32_t, Real>;  // id to logit; dropped: absent

Table table_of(const std::vector<float>& logits) {
  Table t;
  for (std::size_t i = 0; i < logits.size(); ++i) t[static_cast<std::int32_t>(i)] = static_cast<Real>(logits[i]);
  return t;
}

Table probabilities(const Table& t) {
  Real total = 0;
  Table p;
  for (const auto& [id, logit] : t) total += p[id] = std::exp(logit);
  for (auto& [id, value] : p) value /= total;
  return p;
}

// Ids by a rank that is computed for each, smallest first; then by id.
std::vector<std::int32_t> ranked(const Table& t, const std::function<Real(std::int32_t)>& rank) {
  std::vector<std::int32_t> ids;
  for (const auto& [id, logit] : t) ids.push_back(id);
  std::stable_sort(ids.begin(), ids.end(), [&](auto a, auto b) { return rank(a) < rank(b); });
  return ids;
}

Table only(const Table& t, const std::vector<std::int32_t>& ids, std::size_t count) {
  Table out;
  for (std::size_t i = 0; i < count; ++i) out[ids[i]] = t.at(ids[i]);
  return out;
}

// The definitions, straight.
Table temperature(Table t, Real value) {
  for (auto& [id, logit] : t) logit /= value;
  return t;
}
Table top_k(const Table& t, std::size_t k) {
  return only(t, ranked(t, [&](auto id) { return -t.at(id); }), std::min(k, t.size()));
}
Table top_p(const Table& t, Real p) {
  const Table prob = probabilities(t);
  const auto ids = ranked(t, [&](auto id) { return -t.at(id); });
  Real sum = 0;
  std::size_t count = 0;
  for (; count < ids.size() && sum <= p; ++count) sum += prob.at(ids[count]);
  return only(t, ids, count);
}
Table min_p(const Table& t, Real p) {
  const Table prob = probabilities(t);
  Real largest = 0;
  for (const auto& [id, value] : prob) largest = std::max(largest, value);
  Table out;
  for (const auto& [id, logit] : t)
    if (prob.at(id) >= p * largest) out[id] = logit;
  return out;
}
Table typical(const Table& t, Real p) {
  const Table prob = probabilities(t);
  Real entropy = 0, sum = 0;
  for (const auto& [id, value] : prob) entropy -= value * std::log(value);
  const auto ids = ranked(t, [&](auto id) { return std::fabs(-std::log(prob.at(id)) - entropy); });
  std::size_t count = 0;
  for (; count < ids.size() && (count == 0 || sum < p); ++count) sum += prob.at(ids[count]);
  return only(t, ids, count);
}
Table mirostat(const Table& t, Real mu) {
  const Table prob = probabilities(t);
  Table out;
  for (const auto& [id, logit] : t)
    if (-std::log2(prob.at(id)) <= mu) out[id] = logit;
  return out.empty() ? top_k(t, 1) : out;
}
Table penalties(Table t, const std::vector<std::int32_t>& history, std::size_t window, Real repeat, Real frequency, Real presence) {
  std::map<std::int32_t, int> counts;
  for (std::size_t i = history.size() - std::min(window, history.size()); i < history.size(); ++i) ++counts[history[i]];
  for (const auto& [id, count] : counts) {
    if (!t.count(id)) continue;
    Real& logit = t[id];
    logit = (logit > 0 ? logit / repeat : logit * repeat) - count * frequency - presence;
  }
  return t;
}
// For every token, the longest run at the end of the history that was earlier followed by it.
Table dry(Table t, const std::vector<std::int32_t>& h, Real multiplier, Real base, std::size_t allowed) {
  for (auto& [id, logit] : t) {
    std::size_t longest = 0;
    for (std::size_t at = 0; at < h.size(); ++at) {
      if (h[at] != id) continue;
      std::size_t n = 0;
      while (n < at && h[at - 1 - n] == h[h.size() - 1 - n]) ++n;
      longest = std::max(longest, n);
    }
    if (longest >= allowed) logit -= multiplier * std::pow(base, static_cast<Real>(longest - allowed));
  }
  return t;
}

void check_draws(const char* name, Sampler s, const std::vector<float>& logits, const Table& exact) {
  constexpr int draws = 100000;
  std::map<std::int32_t, int> seen;
  for (int i = 0; i < draws; ++i) ++seen[s.sample(logits)];
  Real statistic = 0, rare_expected = 0, rare_seen = 0;
  int cells = 0, total = 0;
  for (const auto& [id, p] : probabilities(exact)) {
    const Real expected = p * draws;
    total += seen[id];
    if (expected < 5) {  // too rare for the approximation: together
      rare_expected += expected;
      rare_seen += seen[id];
      continue;
    }
    statistic += (seen[id] - expected) * (seen[id] - expected) / expected;
    ++cells;
  }
  if (rare_expected >= 5) {
    statistic += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected;
    ++cells;
  }
  CHECK_MESSAGE(total == draws, name << ": " << draws - total << " draws of a token that has no probability");
  REQUIRE(cells > 1);
  const double p = chi_square_tail(static_cast<double>(statistic), cells - 1);
  MESSAGE(std::string(name) << ": chi-square " << static_cast<double>(statistic) << " over " << cells << " cells, p = " << p);
  CHECK_MESSAGE(p > 1e-3, name);
}

const std::vector<std::int32_t> repetitive{4, 7, 9, 2, 4, 7, 9, 11, 30, 4, 7, 9, 2, 4, 7, 9};

}  // namespace

TEST_CASE("100,000 draws of every sampler follow the exact distribution") {
  const auto logits = row(60, 3, 9);
  const Table all = table_of(logits);
  const auto run = [&](const char* name, std::uint64_t seed, const std::function<void(Sampler&)>& build, const Table& exact) {
    Sampler s(seed);
    build(s);
    for (const auto id : repetitive) s.accept(id);
    check_draws(name, std::move(s), logits, exact);
  };
  run("plain", 1, [](Sampler&) {}, all);
  run("temperature 0.6", 2, [](Sampler& s) { s.add_temperature(0.6); }, temperature(all, 0.6L));
  run("temperature 2", 3, [](Sampler& s) { s.add_temperature(2); }, temperature(all, 2));
  run("top-k 10", 4, [](Sampler& s) { s.add_top_k(10); }, top_k(all, 10));
  run("top-p 0.9", 5, [](Sampler& s) { s.add_top_p(0.9); }, top_p(all, 0.9L));
  run("top-p 0.3", 6, [](Sampler& s) { s.add_top_p(0.3); }, top_p(all, 0.3L));
  run("min-p 0.1", 7, [](Sampler& s) { s.add_min_p(0.1); }, min_p(all, 0.1L));
  run("typical 0.5", 8, [](Sampler& s) { s.add_typical(0.5); }, typical(all, 0.5L));
  run("typical 0.95", 9, [](Sampler& s) { s.add_typical(0.95); }, typical(all, 0.95L));
  run("mirostat, mu 4", 10, [](Sampler& s) { s.add_mirostat2(2, 0); }, mirostat(all, 4));
  run("repetition penalty", 11, [](Sampler& s) { s.add_penalties(whole_history, 1.5, 0, 0); },
      penalties(all, repetitive, 999, 1.5L, 0, 0));
  run("all penalties, window 5", 12, [](Sampler& s) { s.add_penalties(5, 1.2, 0.3, 0.5); },
      penalties(all, repetitive, 5, 1.2L, 0.3L, 0.5L));
  run("DRY", 13, [](Sampler& s) { s.add_dry(0.8, 1.75, 2, whole_history); }, dry(all, repetitive, 0.8L, 1.75L, 2));
  const std::vector<std::pair<std::int32_t, float>> bias{{7, 2.5f}, {1, -std::numeric_limits<float>::infinity()}, {40, -1}};
  Table biased = all;
  biased[7] += 2.5L, biased[40] -= 1, biased.erase(1);
  run("logit bias", 14, [&](Sampler& s) { s.add_logit_bias(bias); }, biased);
}

TEST_CASE("100,000 draws of whole chains follow the exact distribution") {
  const auto logits = row(400, 8, 14);
  const Table all = table_of(logits);
  StandardSampling o;
  o.seed = 20;
  o.temperature = 0.7;
  o.top_k = 50;
  o.typical_p = 0.97;
  o.top_p = 0.95;
  o.min_p = 0.02;
  o.repeat_penalty = 1.2;
  o.presence_penalty = 0.1;
  o.dry_multiplier = 0.8;
  Sampler s = Sampler::standard(o);
  for (const auto id : repetitive) s.accept(id);
  Table t = dry(penalties(all, repetitive, 64, 1.2L, 0, 0.1L), repetitive, 0.8L, 1.75L, 2);
  t = temperature(min_p(top_p(typical(top_k(t, 50), 0.97L), 0.95L), 0.02L), 0.7L);
  check_draws("standard chain", std::move(s), logits, t);

  Sampler meta(21);  // Meta's order: temperature before top-p
  meta.add_temperature(0.6);
  meta.add_top_p(0.9);
  check_draws("temperature 0.6, top-p 0.9", std::move(meta), logits, top_p(temperature(all, 0.6L), 0.9L));
}

TEST_CASE("the tokens drawn are those of exact arithmetic, so the same on every platform") {
  std::vector<std::string> chain, shape;
  int compared = 0;
  for (const auto& line : fixture_lines("draws.txt")) {
    if (line[0] == "chain") chain = line;
    if (line[0] == "rows") shape = line;
    if (line[0] != "ids") continue;
    Sampler s(whole(chain[1]));
    s.add_top_k(static_cast<std::uint32_t>(whole(chain[3])));
    s.add_top_p(real(chain[4]));
    s.add_temperature(real(chain[2]));
    const auto ids = ids_of(line);
    for (std::size_t t = 0; t < ids.size(); ++t, ++compared)
      REQUIRE(s.sample(row(whole(shape[1]), t, real(shape[2]))) == ids[t]);
  }
  CHECK(compared == 400);
}

TEST_CASE("Philox 4x32-10 gives the known answers of Random123") {
  Rng zero(0, 0);
  CHECK(zero.next() == 0xe169c58d6627e8d5u);
  Rng ones(~std::uint64_t{0}, ~std::uint64_t{0});
  ones.seek(~std::uint64_t{0});
  CHECK(ones.next() == 0x41c83b0e408f276du);
  Rng pi(0x299f31d0a4093822u, 0x0370734413198a2eu);
  pi.seek(0x85a308d3243f6a88u);
  CHECK(pi.next() == 0x94fdccebd16cfe09u);
}

TEST_CASE("mirostat brings the surprise to its target") {
  const auto logits = row(2000, 5, 10);
  for (const double tau : {2.0, 4.0, 6.0}) {
    Sampler s(9);
    s.add_mirostat2(tau, 0.05);
    std::vector<TokenProbability> p;
    double surprise = 0;
    for (int i = 0; i < 3000; ++i) {
      s.distribution(logits, p);
      const auto id = s.sample(logits);
      const auto at = std::find_if(p.begin(), p.end(), [&](const auto& t) { return t.id == id; });
      REQUIRE(at != p.end());
      if (i >= 500) surprise -= std::log2(at->probability) / 2500;
    }
    CHECK(surprise == doctest::Approx(tau).epsilon(0.03));
  }
}
