// Does speculation pay where guesses are right, and cost nothing where they are wrong?
//
//   build/dev/bench/speculate [SHAPE:TYPE] [TOKENS] [PAIRS] [GUESSES] [THREADS]      (default 1.1b:f16 64 10 15 2)
//
// A scripted proposer, which knows what plain decoding wrote, gets a given share of its guesses right. Two scripts:
// "each", where every guess is right with that chance by itself, so that the first wrong one spoils the rest; and
// "share", where of all guesses that were computed that share is accepted. Plain and speculative runs take turns; printed
// are the medians of the pairs' ratios with their quartiles, and what the pace chose. Same text or it says so.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "puna/base/rng.hpp"
#include "puna/infer/generate.hpp"
#include "puna/infer/synthetic.hpp"

namespace {

using namespace puna;

class Script final : public Proposer {
 public:
  Script(const std::vector<std::int32_t>& whole, double right, bool whole_share, std::uint64_t seed)
      : whole_(whole), right_(right), whole_share_(whole_share), rng_(seed) {}
  void start(std::span<const std::int32_t>, std::span<const std::int32_t>) override {}
  void drawn(std::int32_t) override {}
  Offer offer(std::span<const std::int32_t> held, std::int32_t, std::uint32_t most) override {
    at_ = held.size() + 1;
    return {most, 0};
  }
  bool step(std::uint32_t count, const Deadline&, const CancelToken*) override {
    guesses_.clear();
    // "share": the first of them are right, as many as keep the account even.
    owed_ += whole_share_ ? right_ * count : 0;
    const auto first = static_cast<std::uint32_t>(std::floor(owed_ + 1e-9));
    if (whole_share_) owed_ -= std::min(first, count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::int32_t id = at_ + i < whole_.size() ? whole_[at_ + i] : 0;
      const bool right = whole_share_ ? i < first : rng_.uniform() < right_;
      guesses_.push_back(right ? id : (id + 1) % 32000);
    }
    return true;
  }
  std::span<const std::int32_t> guesses() const override { return guesses_; }
  double cost(std::uint32_t, double) const override { return 0; }

 private:
  const std::vector<std::int32_t>& whole_;
  double right_;
  bool whole_share_;
  Rng rng_;
  double owed_ = 0;
  std::size_t at_ = 0;
  std::vector<std::int32_t> guesses_;
};

struct Timed {
  double ms;
  GenerateResult result;
  std::vector<std::int32_t> ids;
};

Timed generate(Session& session, std::uint32_t tokens, Proposer* proposer) {
  session.truncate(0, 0);
  GenerateOptions o;
  o.max_tokens = tokens;
  o.ids_given = true;
  o.ignore_eos = true;
  o.proposer = proposer;
  for (std::int32_t i = 0; i < 16; ++i) o.prompt_ids.push_back(100 + 37 * i);
  Generator generator(session, {}, o);
  generator.step({}, nullptr);
  const auto ids = session.cache().ids(0);
  return {generator.result().decode_ms, generator.result(), {ids.begin(), ids.end()}};
}

double quantile(std::vector<double> v, double p) {
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(std::lround(p * static_cast<double>(v.size() - 1)))];
}

void pairs(Session& session, std::uint32_t tokens, int count, const std::vector<std::int32_t>& whole, double right, bool share) {
  std::vector<double> ratios, rates;
  std::uint64_t proposed = 0, accepted = 0, drawn = 0;
  bool same = true;
  for (int i = 0; i < count; ++i) {
    Script script(whole, right, share, static_cast<std::uint64_t>(i));
    Timed timed[2];
    for (int turn = 0; turn < 2; ++turn) {
      const bool speculate = (turn + i) % 2 == 1;
      timed[speculate] = generate(session, tokens, speculate ? &script : nullptr);
    }
    ratios.push_back(timed[0].ms / timed[1].ms);
    rates.push_back(tokens * 1000.0 / timed[0].ms);
    proposed += timed[1].result.proposed;
    accepted += timed[1].result.accepted;
    drawn += tokens;
    same = same && timed[0].ids == timed[1].ids;
  }
  std::printf("%-6s %.1f  speed %5.3fx (%.3f to %.3f)  plain %6.2f tokens/s  guesses per token %.2f, accepted %.2f of them  %s\n",
              share ? "share" : "each", right, quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75),
              quantile(rates, 0.5), static_cast<double>(proposed) / static_cast<double>(drawn),
              proposed ? static_cast<double>(accepted) / static_cast<double>(proposed) : 0.0, same ? "same tokens" : "OTHER TOKENS");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string spec = argc > 1 ? argv[1] : "1.1b:f16";
  const auto tokens = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 64);
  const int count = argc > 3 ? std::atoi(argv[3]) : 10;
  const auto guesses = static_cast<std::uint32_t>(argc > 4 ? std::atoi(argv[4]) : 15);
  RuntimeOptions machine;
  machine.threads = static_cast<std::uint32_t>(argc > 5 ? std::atoi(argv[5]) : 2);
  const auto runtime = std::make_shared<Runtime>(machine);
  ModelLoader loader(runtime, nullptr, [&] { return synthetic_weights(spec); }, LoadOptions{});
  while (!loader.step({}, nullptr)) {
  }
  SessionOptions options;
  options.context = tokens + 32;
  options.speculate = guesses;
  Session session(loader.take(), options);
  std::printf("%s, %u threads, %s kernels, %u tokens, %d pairs, at most %u guesses\n", spec.c_str(), session.options().threads,
              std::string(machine_kernels().name).c_str(), tokens, count, guesses);
  const std::vector<std::int32_t> whole = generate(session, tokens, nullptr).ids;
  for (const double right : {0.8, 0.0}) {
    pairs(session, tokens, count, whole, right, true);
    if (right > 0) pairs(session, tokens, count, whole, right, false);
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
