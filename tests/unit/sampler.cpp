// The chain itself: parameters, edges, callback, log-probabilities, state.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "puna/base/status.hpp"
#include "sampler_support.hpp"

namespace puna_test {
extern std::atomic<long> allocations;  // sampler_allocations.cpp
}

using namespace puna;
using namespace puna_test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
const double not_a_number = std::nan("");

// The error that the call throws; Code::ok when it does not.
template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& e) {
    return e;
  }
  return Error(Code::ok, "");
}

bool says(const Error& e, Code code, const char* words) {
  MESSAGE(e.text());
  return e.code() == code && e.text().find(words) != std::string::npos;
}

std::vector<std::int32_t> draw(Sampler& s, int count, std::uint64_t first = 0) {
  std::vector<std::int32_t> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(s.sample(row(100, first + static_cast<std::uint64_t>(i), 8)));
    s.accept(out.back());
  }
  return out;
}

Sampler busy_chain(std::uint64_t seed, bool mirostat) {
  StandardSampling o;
  o.seed = seed;
  o.temperature = 0.9;
  o.repeat_penalty = 1.3;
  o.frequency_penalty = 0.1;
  o.dry_multiplier = 0.8;
  o.mirostat = mirostat;
  o.top_k = 40;
  o.top_p = 0.95;
  return Sampler::standard(o);
}

}  // namespace

TEST_CASE("parameters out of range are refused by name and value") {
  Sampler s;
  CHECK(says(error_of([&] { s.add_temperature(-0.1); }), Code::argument, "temperature is -0.1"));
  CHECK(says(error_of([&] { s.add_temperature(not_a_number); }), Code::argument, "temperature is nan"));
  CHECK(says(error_of([&] { s.add_temperature(INFINITY); }), Code::argument, "temperature"));
  CHECK(says(error_of([&] { s.add_top_p(0); }), Code::argument, "top_p is 0;"));
  CHECK(says(error_of([&] { s.add_top_p(1.01); }), Code::argument, "top_p is 1.01"));
  CHECK(says(error_of([&] { s.add_top_p(not_a_number); }), Code::argument, "top_p"));
  CHECK(says(error_of([&] { s.add_min_p(-1); }), Code::argument, "min_p is -1"));
  CHECK(says(error_of([&] { s.add_min_p(1.5); }), Code::argument, "min_p is 1.5"));
  CHECK(says(error_of([&] { s.add_min_p(not_a_number); }), Code::argument, "min_p"));
  CHECK(says(error_of([&] { s.add_typical(0); }), Code::argument, "typical_p is 0;"));
  CHECK(says(error_of([&] { s.add_typical(not_a_number); }), Code::argument, "typical_p"));
  CHECK(says(error_of([&] { s.add_mirostat2(0, 0.1); }), Code::argument, "mirostat tau is 0;"));
  CHECK(says(error_of([&] { s.add_mirostat2(5, -1); }), Code::argument, "mirostat eta is -1"));
  CHECK(says(error_of([&] { s.add_mirostat2(not_a_number, 0.1); }), Code::argument, "tau"));
  CHECK(says(error_of([&] { s.add_penalties(64, 0, 0, 0); }), Code::argument, "repeat penalty is 0;"));
  CHECK(says(error_of([&] { s.add_penalties(64, not_a_number, 0, 0); }), Code::argument, "repeat penalty"));
  CHECK(says(error_of([&] { s.add_penalties(64, 1, INFINITY, 0); }), Code::argument, "frequency penalty"));
  CHECK(says(error_of([&] { s.add_penalties(64, 1, 0, not_a_number); }), Code::argument, "presence penalty"));
  CHECK(says(error_of([&] { s.add_penalties(1u << 30, 1.1, 0, 0); }), Code::argument, "window is 1073741824"));
  CHECK(says(error_of([&] { s.add_dry(-1, 1.75, 2, 64); }), Code::argument, "DRY multiplier is -1"));
  CHECK(says(error_of([&] { s.add_dry(1, 0.5, 2, 64); }), Code::argument, "DRY base is 0.5"));
  CHECK(says(error_of([&] { s.add_dry(1, not_a_number, 2, 64); }), Code::argument, "DRY base"));
  CHECK(says(error_of([&] { s.add_dry(1, 1.75, 0, 64); }), Code::argument, "DRY allowed length is 0"));
  CHECK(says(error_of([&] { s.add_dry(1, 1.75, 2, 64, {{}}); }), Code::argument, "breaker is empty"));
  CHECK(says(error_of([&] { s.add_dry(1, 1.75, 2, 64, {{-3}}); }), Code::argument, "-3"));
  using Bias = std::vector<std::pair<std::int32_t, float>>;
  CHECK(says(error_of([&] { s.add_logit_bias(Bias{{-1, 1.f}}); }), Code::argument, "-1"));
  CHECK(says(error_of([&] { s.add_logit_bias(Bias{{4, NAN}}); }), Code::argument, "token 4 is NaN"));
  CHECK(says(error_of([&] { s.add_logit_bias(Bias{{4, 1.f}, {5, 1.f}, {4, 2.f}}); }), Code::argument, "token 4 has two"));
  CHECK(says(error_of([&] { s.add_callback(nullptr, nullptr); }), Code::argument, "null"));
  CHECK(says(error_of([&] { s.accept(-5); }), Code::argument, "-5"));
  CHECK(s.steps().empty());
  CHECK(s.history().empty());
}

TEST_CASE("values that mean off add no step") {
  Sampler s;
  s.add_temperature(1);
  s.add_top_k(0);
  s.add_top_p(1);
  s.add_min_p(0);
  s.add_typical(1);
  s.add_penalties(64, 1, 0, 0);
  s.add_penalties(0, 2, 1, 1);
  s.add_dry(0, 1.75, 2, 64);
  s.add_dry(1, 1.75, 2, 0);
  s.add_logit_bias({});
  CHECK(s.steps().empty());
}

TEST_CASE("a choosing step ends the chain") {
  Sampler s;
  s.add_greedy();
  CHECK(says(error_of([&] { s.add_top_k(3); }), Code::state, "greedy"));
  Sampler m;
  m.add_mirostat2(5, 0.1);
  CHECK(says(error_of([&] { m.add_greedy(); }), Code::state, "mirostat"));
}

TEST_CASE("argmax: the largest logit, the lowest id among equals, by three ways") {
  const std::vector<float> logits{1, 3, -2, 3, 2.5f, 3};
  for (int way = 0; way < 3; ++way) {
    Sampler s(static_cast<std::uint64_t>(way));
    if (way == 0) s.add_greedy();
    if (way == 1) s.add_temperature(0);
    if (way == 2) s.add_top_k(1);
    for (int i = 0; i < 20; ++i) REQUIRE(s.sample(logits) == 1);
    CHECK(s.position() == 20);  // one number of the stream each, drawn or not
  }
  Sampler s;
  s.add_greedy();
  CHECK(s.sample(std::vector<float>{-0.0f, 0.0f}) == 0);
  CHECK(s.sample(std::vector<float>{-inf, -3e38f}) == 1);
  CHECK(s.sample(std::vector<float>{5}) == 0);
}

TEST_CASE("infinite logits: -inf is never drawn, +inf takes all, NaN and nothing left are errors") {
  Sampler s(4);
  const std::vector<float> some{-inf, 0, -inf, 0};
  const std::vector<float> forced{3, inf, 0, inf};
  for (int i = 0; i < 200; ++i) {
    REQUIRE(s.sample(some) % 2 == 1);
    REQUIRE(s.sample(forced) % 2 == 1);
  }
  Sampler chain = busy_chain(1, false);
  chain.add_typical(0.9);
  chain.add_min_p(0.1);
  chain.add_mirostat2(5, 0.1);
  for (int i = 0; i < 200; ++i) {
    REQUIRE(chain.sample(some) % 2 == 1);
    REQUIRE(chain.sample(forced) % 2 == 1);
  }
  // Even where every other logit is at the bottom of what float32 holds, a banned token is not drawn.
  const std::vector<float> low{-inf, -3e38f, -inf, -3.4e38f};
  Sampler scaled(2);
  scaled.add_penalties(whole_history, 2, 0.5, 0);
  scaled.add_temperature(0.1);
  for (int id = 0; id < 4; ++id) scaled.accept(id);
  for (int i = 0; i < 200; ++i) REQUIRE(scaled.sample(low) % 2 == 1);
  const auto before = chain.save();
  CHECK(says(error_of([&] { chain.sample(std::vector<float>{1, NAN, 2}); }), Code::argument, "token 1 is NaN"));
  CHECK(says(error_of([&] { chain.sample(std::vector<float>{-inf, -inf}); }), Code::argument, "no token is left"));
  CHECK(says(error_of([&] { chain.sample({}); }), Code::argument, "0 logits"));
  CHECK(chain.save() == before);
}

TEST_CASE("extreme logits and penalties stay finite") {
  const float big = std::numeric_limits<float>::max();
  Sampler s(1);
  s.add_penalties(whole_history, 1e6, 1e6, 1e6);
  s.add_dry(1e300, 1e300, 1, whole_history);
  s.add_temperature(1e-5);
  for (int i = 0; i < 50; ++i) s.accept(i % 3);
  CHECK(s.sample(std::vector<float>{-big, -big, -big}) >= 0);  // penalised, but not banned
  CHECK(s.sample(std::vector<float>{0, -big, big, big}) == 3);  // not accepted, so not penalised
  CHECK(s.sample(std::vector<float>{1e-45f, -1e-45f, 0}) >= 0);
}

TEST_CASE("logit bias: added, banned, forced; an id beyond the vocabulary is an error") {
  const std::vector<float> logits{1, 2, 3, 4};
  using Bias = std::vector<std::pair<std::int32_t, float>>;
  const auto argmax = [&](const Bias& bias) {
    Sampler s;
    s.add_logit_bias(bias);
    s.add_greedy();
    return s.sample(logits);
  };
  CHECK(argmax({{0, 3.5f}}) == 0);
  CHECK(argmax({{3, -inf}}) == 2);
  CHECK(argmax({{3, -inf}, {1, inf}}) == 1);
  CHECK(says(error_of([&] { argmax({{0, -inf}, {1, -inf}, {2, -inf}, {3, -inf}}); }), Code::argument, "no token is left"));
  CHECK(says(error_of([&] { argmax({{4, 1.f}}); }), Code::argument, "token 4, but there are 4 logits"));
  Sampler late;  // after a filter: only what is left
  late.add_top_k(2);
  late.add_logit_bias(Bias{{0, 100.f}, {2, 2.f}});
  late.add_greedy();
  CHECK(late.sample(logits) == 2);
}

TEST_CASE("the callback sees the vocabulary and the history, and its refusal comes back") {
  struct Seen {
    std::size_t n = 0;
    std::vector<float> logits;
    std::vector<std::int32_t> history;
    std::int32_t answer = 0;
    float write = 0;
  } seen;
  const LogitsCallback callback = [](void* user, float* logits, std::size_t n, const std::int32_t* h, std::size_t count) {
    auto& s = *static_cast<Seen*>(user);
    s.n = n;
    s.logits.assign(logits, logits + n);
    s.history.assign(h, h + count);
    logits[0] = s.write;
    return s.answer;
  };
  for (const bool filtered : {false, true}) {
    Sampler s(1);
    if (filtered) s.add_top_k(2);
    s.add_callback(callback, &seen);
    s.add_greedy();
    s.accept(2);
    s.accept(9);
    seen.write = 100, seen.answer = 0;
    CHECK(s.sample(std::vector<float>{1, 2, 3, 4}) == (filtered ? 3 : 0));  // a dropped token stays dropped
    CHECK(seen.logits == (filtered ? std::vector<float>{-inf, -inf, 3, 4} : std::vector<float>{1, 2, 3, 4}));
    CHECK(seen.history == std::vector<std::int32_t>{2, 9});
    Sampler other(1);  // what it writes counts, filtered or not
    if (filtered) other.add_top_k(2);
    other.add_callback([](void*, float* logits, std::size_t, const std::int32_t*, std::size_t) {
      logits[2] = 50;
      return 0;
    }, nullptr);
    other.add_greedy();
    CHECK(other.sample(std::vector<float>{1, 2, 3, 4}) == 2);
    seen.answer = 77;
    const auto before = s.save();
    const Error e = error_of([&] { s.sample(std::vector<float>{1, 2, 3, 4}); });
    CHECK(e.code() == Code::callback);
    CHECK(e.user_code() == 77);
    CHECK(s.save() == before);
    seen.answer = 0, seen.write = NAN;
    if (!filtered)
      CHECK(says(error_of([&] { s.sample(std::vector<float>{1, 2}); }), Code::argument, "the sampler callback"));
  }
}

TEST_CASE("log-probabilities are of the row itself, before any step") {
  // -log p from torch.nn.functional.cross_entropy (float64), in nll.txt.
  Sampler s;
  s.add_top_k(1);
  int rows = 0;
  for (const auto& line : fixture_lines("nll.txt")) {
    const auto logits = row_of(line);
    std::vector<TokenLogprob> top;
    const auto target = static_cast<std::int32_t>(whole(line[4]));
    CHECK(s.logprob(logits, target) == doctest::Approx(-real(line[5])).epsilon(1e-6));
    CHECK(s.top_logprobs(logits, 8, target, top) == s.logprob(logits, target));
    REQUIRE(top.size() == std::min<std::size_t>(8, logits.size()));
    for (std::size_t i = 0; i < top.size(); ++i) {
      CHECK(top[i].logprob == s.logprob(logits, top[i].id));
      if (i) CHECK(Candidates::likely_first(logits[top[i - 1].id], top[i - 1].id) < Candidates::likely_first(logits[top[i].id], top[i].id));
    }
    CHECK(logits[top[0].id] == *std::max_element(logits.begin(), logits.end()));
    ++rows;
  }
  CHECK(rows == 15);
  CHECK(says(error_of([&] { s.logprob(std::vector<float>{1, 2}, 2); }), Code::argument, "token id 2"));
}

TEST_CASE("a saved state, a clone and a moved sampler go on exactly") {
  for (const bool mirostat : {false, true}) {
    Sampler s = busy_chain(5, mirostat);
    for (int id = 0; id < 10; ++id) s.accept(id);
    draw(s, 40);
    const auto saved = s.save();
    Sampler twin = s.clone();
    const auto expected = draw(s, 40, 1000);
    CHECK(draw(twin, 40, 1000) == expected);
    Sampler restored = busy_chain(99, mirostat);
    draw(restored, 3);
    restored.restore(saved);
    CHECK(restored.save() == saved);
    Sampler moved(0);
    moved.sample(row(10, 1, 1));
    moved = std::move(restored);
    CHECK(draw(moved, 40, 1000) == expected);
    CHECK(moved.save() == s.save());
  }
}

TEST_CASE("reset begins again; another seed draws otherwise") {
  Sampler s = busy_chain(5, true);
  const auto first = draw(s, 30);
  s.reset();
  CHECK(s.history().empty());
  CHECK(draw(s, 30) == first);
  s.reset(6);
  CHECK(s.seed() == 6);
  CHECK(draw(s, 30) != first);
}

TEST_CASE("a broken saved state is refused and changes nothing") {
  Sampler s = busy_chain(5, true);
  draw(s, 5);
  const auto good = s.save();
  for (std::size_t n = 0; n < good.size(); ++n)
    REQUIRE(error_of([&] { s.restore(std::span(good).first(n)); }).code() == Code::format);
  const auto with = [&](std::size_t at, std::initializer_list<int> bytes) {
    auto bad = good;
    for (const int b : bytes) bad.at(at++) = static_cast<std::uint8_t>(b);
    return error_of([&] { s.restore(bad); });
  };
  CHECK(says(with(0, {'X'}), Code::format, "PUNASAMP"));
  CHECK(says(with(8, {0}), Code::format, "version is 0"));
  CHECK(says(with(8, {2}), Code::unsupported, "version is 2"));
  CHECK(says(with(12, {7}), Code::format, "has_mu is 7"));
  CHECK(says(with(46, {0xf8, 0x7f}), Code::format, "mu is not finite"));
  CHECK(says(with(48, {0xff, 0xff, 0xff, 0xff}), Code::format, "4294967295 tokens"));
  CHECK(says(with(52, {0xff, 0xff, 0xff, 0xff}), Code::format, "token 0 of the history is -1"));
  CHECK(says(with(12, {0}), Code::state, "mirostat"));
  auto longer = good;
  longer.push_back(0);
  CHECK(error_of([&] { s.restore(longer); }).code() == Code::format);
  CHECK(s.save() == good);
  s.restore(good);
  CHECK(s.save() == good);
}

TEST_CASE("the history keeps what windows need, and lets go of the rest") {
  Sampler s;
  s.prepare(10, 6000);
  for (int i = 0; i < 20000; ++i) {
    s.accept(i);
    REQUIRE(s.history().size() == std::min<std::size_t>(i + 1, 6000));
  }
  CHECK(s.history().front() == 14000);
  CHECK(s.history().back() == 19999);
  s.accept(1 << 30);  // an id beyond the vocabulary matters to nobody
  s.add_penalties(whole_history, 2, 0, 0);
  s.add_dry(1, 2, 1, whole_history);
  CHECK(s.sample(row(10, 1, 1)) >= 0);
}

TEST_CASE("after the first token nothing is allocated, and scratch comes from the given memory") {
  Memory memory;
  {
    StandardSampling o;
    o.temperature = 0.8;
    o.top_k = 0, o.top_p = 0.95, o.typical_p = 0.99, o.min_p = 0.01, o.repeat_penalty = 1.1, o.dry_multiplier = 0.8;
    o.dry_breakers = {{3}, {1, 2}};
    Sampler s = Sampler::standard(o, &memory);
    const auto logits = row(5000, 1, 5);
    std::vector<TokenLogprob> top;
    s.prepare(logits.size());
    top.reserve(10);
    CHECK(memory.used() > 5000 * 4);
    const auto used = memory.peak();
    const long before = allocations;
    for (int i = 0; i < 200; ++i) {
      s.accept(s.sample(logits));
      s.top_logprobs(logits, 10, 1, top);
    }
    CHECK(allocations == before);
    CHECK(memory.peak() == used);
  }
  CHECK(memory.used() == 0);
  Memory small({}, 1000);
  Sampler s(1, &small);
  CHECK(error_of([&] { s.sample(row(5000, 1, 5)); }).code() == Code::memory);
  CHECK(s.sample(row(2, 1, 5)) >= 0);
}
