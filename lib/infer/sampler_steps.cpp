// The steps that keep or drop candidates by their probability.
#include "puna/infer/sampler_steps.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "puna/base/portable_math.hpp"

namespace puna {
namespace {

constexpr double ln_2 = 0x1.62e42fefa39efp-1;

}  // namespace

void GreedyStep::apply(Candidates& c, History) const { c.keep_only(c.best()); }

void TemperatureStep::apply(Candidates& c, History) const {
  if (t < 1e-6) return c.keep_only(c.best());
  constexpr double largest = std::numeric_limits<float>::max();
  for (float& logit : c.logits()) {
    const double quotient = static_cast<double>(logit) / t;
    const bool infinite = logit - logit != 0;
    logit = infinite ? logit : static_cast<float>(std::clamp(quotient, -largest, largest));
  }
}

void TopKStep::apply(Candidates& c, History) const {
  if (k >= c.size()) return;
  std::uint64_t* keys = c.keys();
  const auto logits = c.logits();
  // The k smallest keys seen, with room for as many more before the rest is cut off again: most never enter.
  const std::size_t room = std::min<std::size_t>(c.size(), 2 * static_cast<std::size_t>(k));
  float floor = -std::numeric_limits<float>::infinity();
  std::size_t held = 0;
  const auto cut = [&] {
    std::nth_element(keys, keys + (k - 1), keys + held);
    floor = logits[Candidates::place_of(keys[k - 1])];
    held = k;
  };
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < floor) continue;
    if (held == room) cut();
    keys[held++] = Candidates::likely_first(logits[i], i);
  }
  cut();
  c.keep_keys(k);
}

void TopPStep::apply(Candidates& c, History) const {
  const std::size_t n = c.size();
  if (n <= min_keep) return;
  const double total = c.weigh();
  const auto weights = c.weights();
  const auto logits = c.logits();
  // Tokens below (1 - p) / n have less than 1 - p together, so all of them go, and need no sorting. The last factor
  // is for rounding; where it did not suffice, or min_keep wants more, all are sorted.
  double floor = total * (1 - p) / static_cast<double>(n) * 0.999;
  for (;;) {
    std::uint64_t* keys = c.keys();
    std::size_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      keys[count] = Candidates::likely_first(logits[i], i);
      count += weights[i] >= floor ? 1u : 0u;
    }
    c.sort_keys(count);
    keys = c.keys();
    double before = 0;
    std::size_t kept = 0;
    while (kept < count && (kept < min_keep || before <= p * total)) before += weights[Candidates::place_of(keys[kept++])];
    if (kept < count || count == n) return c.keep_keys(kept);
    floor = 0;
  }
}

void MinPStep::apply(Candidates& c, History) const {
  const float best = c.logits()[c.best()];
  const double floor = portable::log(p);
  c.keep_if([&](std::size_t i) { return c.below_best(i, best) >= floor; });
}

void TypicalStep::apply(Candidates& c, History) const {
  const float best = c.logits()[c.best()];
  const double total = c.weigh();
  const double log_total = portable::log(total);
  const auto weights = c.weights();
  const auto surprise = [&](std::size_t i) { return log_total - c.below_best(i, best); };
  double entropy = 0;
  for (std::size_t i = 0; i < c.size(); ++i)
    if (weights[i] > 0) entropy += weights[i] / total * surprise(i);
  // Distance from the entropy as a float32, whose bits ascend with it; then by id.
  std::uint64_t* keys = c.keys();
  for (std::size_t i = 0; i < c.size(); ++i) {
    const double distance = surprise(i) - entropy;
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(distance < 0 ? -distance : distance));
    keys[i] = (static_cast<std::uint64_t>(bits) << 32) | static_cast<std::uint32_t>(i);
  }
  c.sort_keys(c.size());
  keys = c.keys();
  double sum = 0;
  std::size_t kept = 0;
  while (kept < c.size() && (kept == 0 || sum < p * total)) sum += weights[Candidates::place_of(keys[kept++])];
  c.keep_keys(kept);
}

void MirostatStep::apply(Candidates& c, History) const {
  const std::size_t best_place = c.best();
  const float best = c.logits()[best_place];
  const double log_total = portable::log(c.weigh());
  c.keep_if([&](std::size_t i) { return i == best_place || log_total - c.below_best(i, best) <= mu * ln_2; });
}

void MirostatStep::observe(double probability) {
  const double surprise = -portable::log(probability) / ln_2;
  mu -= eta * (surprise - tau);
}

}  // namespace puna
