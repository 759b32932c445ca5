#include "puna/infer/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "puna/base/portable_math.hpp"
#include "puna/base/status.hpp"

namespace puna {
namespace {

constexpr std::size_t longest_history = std::size_t{1} << 28;

std::string number(double value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

// NaN fails every comparison, so `ok` must be what is allowed, not what is forbidden.
void require(bool ok, const char* name, double value, const char* allowed) {
  if (!ok) fail(Code::argument, std::string(name) + " is " + number(value) + "; it must be " + allowed);
}

bool finite(double value) { return value - value == 0; }

}  // namespace

Sampler::Sampler(std::uint64_t seed, Memory* memory) : memory_(memory), rng_(seed) {
  if (memory_) return;
  own_memory_ = std::make_unique<Memory>();
  memory_ = own_memory_.get();
}

Sampler Sampler::standard(const StandardSampling& o, Memory* memory) {
  Sampler s(o.seed, memory);
  if (!o.logit_bias.empty()) s.add_logit_bias(o.logit_bias);
  s.add_penalties(o.penalty_window, o.repeat_penalty, o.frequency_penalty, o.presence_penalty);
  s.add_dry(o.dry_multiplier, o.dry_base, o.dry_allowed_length, o.dry_window, o.dry_breakers);
  if (o.mirostat) {
    s.add_temperature(o.temperature);
    s.add_mirostat2(o.mirostat_tau, o.mirostat_eta);
    return s;
  }
  s.add_top_k(o.top_k);
  s.add_typical(o.typical_p);
  s.add_top_p(o.top_p);
  s.add_min_p(o.min_p);
  s.add_temperature(o.temperature);
  return s;
}

// Member by member, scratch before the memory it came from: ours goes with `other`.
Sampler& Sampler::operator=(Sampler&& other) noexcept {
  std::swap(candidates_, other.candidates_);
  std::swap(own_memory_, other.own_memory_);
  std::swap(memory_, other.memory_);
  std::swap(rng_, other.rng_);
  std::swap(steps_, other.steps_);
  std::swap(history_, other.history_);
  std::swap(keep_, other.keep_);
  return *this;
}

Sampler Sampler::clone() const {
  Sampler copy(rng_.seed(), own_memory_ ? nullptr : memory_);
  copy.rng_ = rng_;
  copy.steps_ = steps_;
  copy.keep_ = keep_;
  copy.history_.reserve(std::max(history_.capacity(), history_.size()));
  copy.history_ = history_;
  if (candidates_.vocab()) copy.prepare(candidates_.vocab());
  return copy;
}

void Sampler::follow(const Sampler& original) {
  rng_ = original.rng_;
  history_.assign(original.history_.begin(), original.history_.end());
  if (MirostatStep* m = mirostat()) m->mu = original.mirostat()->mu;
}

void Sampler::add(SamplerStep step) {
  if (!steps_.empty() && std::holds_alternative<GreedyStep>(steps_.back()))
    fail(Code::state, "the sampler's chain ended with greedy; nothing can be added after it");
  if (mirostat()) fail(Code::state, "the sampler's chain ended with mirostat; nothing can be added after it");
  steps_.push_back(std::move(step));
}

void Sampler::need_history(std::uint32_t window) {
  if (window == whole_history) return;
  if (window > longest_history)
    fail(Code::argument, "window is " + std::to_string(window) + "; it must be at most " +
                             std::to_string(longest_history) + ", or the whole history");
  keep_ = std::max<std::size_t>(keep_, window);
}

void Sampler::add_greedy() { add(GreedyStep{}); }

void Sampler::add_temperature(double temperature) {
  require(temperature >= 0 && finite(temperature), "temperature", temperature, "0 or more, and finite");
  if (temperature != 1) add(TemperatureStep{temperature});
}

void Sampler::add_top_k(std::uint32_t k) {
  if (k != 0) add(TopKStep{k});
}

void Sampler::add_top_p(double p, std::uint32_t min_keep) {
  require(p > 0 && p <= 1, "top_p", p, "above 0 and at most 1");
  if (p < 1) add(TopPStep{p, std::max<std::uint32_t>(min_keep, 1)});
}

void Sampler::add_min_p(double p) {
  require(p >= 0 && p <= 1, "min_p", p, "from 0 to 1");
  if (p > 0) add(MinPStep{p});
}

void Sampler::add_typical(double p) {
  require(p > 0 && p <= 1, "typical_p", p, "above 0 and at most 1");
  if (p < 1) add(TypicalStep{p});
}

void Sampler::add_mirostat2(double tau, double eta) {
  require(tau > 0 && tau <= 1000, "mirostat tau", tau, "above 0 and at most 1000 bits");
  require(eta >= 0 && eta <= 100, "mirostat eta", eta, "from 0 to 100");
  add(MirostatStep{tau, eta, 2 * tau});
}

void Sampler::add_penalties(std::uint32_t window, double repeat, double frequency, double presence) {
  require(repeat >= 1e-6 && repeat <= 1e6, "repeat penalty", repeat, "from 0.000001 to 1000000");
  require(frequency >= -1e6 && frequency <= 1e6, "frequency penalty", frequency, "from -1000000 to 1000000");
  require(presence >= -1e6 && presence <= 1e6, "presence penalty", presence, "from -1000000 to 1000000");
  if (window == 0 || (repeat == 1 && frequency == 0 && presence == 0)) return;
  need_history(window);
  add(PenaltiesStep{window, repeat, frequency, presence});
}

void Sampler::add_dry(double multiplier, double base, std::uint32_t allowed_length, std::uint32_t window,
                      std::vector<std::vector<std::int32_t>> breakers) {
  require(multiplier >= 0 && finite(multiplier), "DRY multiplier", multiplier, "0 or more, and finite");
  require(base >= 1 && finite(base), "DRY base", base, "1 or more, and finite");
  require(allowed_length >= 1, "DRY allowed length", allowed_length, "1 or more");
  for (const auto& breaker : breakers) {
    if (breaker.empty()) fail(Code::argument, "a DRY sequence breaker is empty; it must hold a token at least");
    for (const std::int32_t id : breaker) require(id >= 0, "a token id of a DRY sequence breaker", id, "0 or more");
  }
  if (multiplier == 0 || window == 0) return;
  need_history(window);
  add(DryStep{multiplier, base, allowed_length, window, std::move(breakers)});
}

void Sampler::add_logit_bias(std::span<const std::pair<std::int32_t, float>> biases) {
  LogitBiasStep step;
  step.biases.assign(biases.begin(), biases.end());
  for (const auto& [id, bias] : step.biases) {
    require(id >= 0, "a token id of a logit bias", id, "0 or more");
    if (bias != bias) fail(Code::argument, "the logit bias of token " + std::to_string(id) + " is NaN");
  }
  std::sort(step.biases.begin(), step.biases.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < step.biases.size(); ++i)
    if (step.biases[i].first == step.biases[i - 1].first)
      fail(Code::argument, "token " + std::to_string(step.biases[i].first) + " has two logit biases");
  if (!step.biases.empty()) add(std::move(step));
}

void Sampler::add_callback(LogitsCallback callback, void* user) {
  if (!callback) fail(Code::argument, "the sampler callback is null");
  add(CallbackStep{callback, user});
}

void Sampler::prepare(std::size_t vocab, std::size_t history) {
  if (vocab == 0 || vocab > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    fail(Code::argument, "the sampler was given " + std::to_string(vocab) + " logits; it must be 1 to 2147483647");
  if (history > longest_history)
    fail(Code::argument, "history is " + std::to_string(history) + "; it must be at most " +
                             std::to_string(longest_history));
  for (const SamplerStep& step : steps_)
    if (const auto* bias = std::get_if<LogitBiasStep>(&step))
      if (static_cast<std::size_t>(bias->biases.back().first) >= vocab)
        fail(Code::argument, "a logit bias is for token " + std::to_string(bias->biases.back().first) +
                                 ", but there are " + std::to_string(vocab) + " logits");
  const std::size_t keep = std::max(keep_, history);
  const bool dry = std::any_of(steps_.begin(), steps_.end(), [](const auto& s) { return std::holds_alternative<DryStep>(s); });
  candidates_.prepare(*memory_, vocab, dry ? keep : 0);
  history_.reserve(2 * keep);
  keep_ = keep;
}

History Sampler::history() const noexcept {
  const History all(history_);
  return all.last(std::min(all.size(), keep_));
}

void Sampler::accept(std::int32_t id) {
  if (id < 0) fail(Code::argument, "token id " + std::to_string(id) + " cannot be accepted; it must be 0 or more");
  if (history_.capacity() < 2 * keep_) history_.reserve(2 * keep_);
  if (history_.size() >= 2 * keep_) history_.erase(history_.begin(), history_.end() - static_cast<std::ptrdiff_t>(keep_));
  history_.push_back(id);
}

MirostatStep* Sampler::mirostat() noexcept { return steps_.empty() ? nullptr : std::get_if<MirostatStep>(&steps_.back()); }
const MirostatStep* Sampler::mirostat() const noexcept { return const_cast<Sampler*>(this)->mirostat(); }

void Sampler::run(std::span<const float> logits) {
  prepare(logits.size());
  candidates_.load(logits);
  for (const SamplerStep& step : steps_)
    std::visit([&](const auto& s) { s.apply(candidates_, history()); }, step);
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  run(logits);
  const double total = candidates_.weigh();
  const auto weights = candidates_.weights();
  const double target = rng_.uniform() * total;
  // The first whose running sum passes the target. Rounding may lift the target to the total itself: then the last one
  // that has any weight.
  double sum = 0;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    chosen = i;
    sum += weights[i];
    if (sum > target) break;
  }
  if (MirostatStep* m = mirostat()) m->observe(weights[chosen] / total);
  return candidates_.ids()[chosen];
}

void Sampler::distribution(std::span<const float> logits, std::vector<TokenProbability>& out) {
  run(logits);
  const double total = candidates_.weigh();
  out.clear();
  for (std::size_t i = 0; i < candidates_.size(); ++i)
    if (candidates_.weights()[i] > 0) out.push_back({candidates_.ids()[i], candidates_.weights()[i] / total});
}

float Sampler::top_logprobs(std::span<const float> logits, std::size_t k, std::int32_t drawn,
                            std::vector<TokenLogprob>& out) {
  prepare(logits.size());
  if (drawn < 0 || static_cast<std::size_t>(drawn) >= logits.size())
    fail(Code::argument, "token id " + std::to_string(drawn) + " has no logit among " + std::to_string(logits.size()));
  candidates_.load(logits);
  const float best = logits[candidates_.best()];
  const double log_total = portable::log(candidates_.weigh());
  const auto logprob_at = [&](std::size_t i) {
    return static_cast<float>(candidates_.below_best(i, best) - log_total);
  };
  const float result = logprob_at(static_cast<std::size_t>(drawn));
  k = std::min(k, logits.size());
  out.clear();
  if (k == 0) return result;
  std::uint64_t* keys = candidates_.keys();
  for (std::size_t i = 0; i < logits.size(); ++i) keys[i] = Candidates::likely_first(logits[i], i);
  std::partial_sort(keys, keys + k, keys + logits.size());
  for (std::size_t i = 0; i < k; ++i) {
    const std::size_t place = Candidates::place_of(keys[i]);
    out.push_back({static_cast<std::int32_t>(place), logprob_at(place)});
  }
  return result;
}

float Sampler::logprob(std::span<const float> logits, std::int32_t id) {
  std::vector<TokenLogprob> none;
  return top_logprobs(logits, 0, id, none);
}

void Sampler::reset() {
  rng_.seek(0);
  history_.clear();
  if (MirostatStep* m = mirostat()) m->mu = 2 * m->tau;
}

void Sampler::reset(std::uint64_t seed) {
  rng_ = Rng(seed);
  reset();
}

}  // namespace puna
