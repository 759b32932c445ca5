// Choosing the next token: a chain of steps over one row of logits, then one draw.
//
//   Sampler s(seed);
//   s.add_top_k(40);  s.add_top_p(0.9);  s.add_temperature(0.6);
//   for (id : prompt) s.accept(id);
//   id = s.sample(logits);  s.accept(id);
//
// The same logits, seed and history give the same token on every platform: decisions use base/portable_math.hpp, a
// total order of candidates and sums in one written order. Steps act in the order added. One number of the seeded
// stream is taken per sample(), whatever the chain, so that number n always belongs to token n. When a call throws, the
// sampler is as it was before. After prepare(), or the first sample(), nothing is allocated from token to token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "puna/base/memory.hpp"
#include "puna/base/rng.hpp"
#include "puna/infer/sampler_steps.hpp"

namespace puna {

struct TokenLogprob {
  std::int32_t id;
  float logprob;  // natural logarithm
};
struct TokenProbability {
  std::int32_t id;
  double probability;
};

// The usual chain in llama.cpp's usual order; everything is off until set, and temperature 0 is the argmax.
struct StandardSampling {
  double temperature = 0;
  std::uint32_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double typical_p = 1;
  std::uint32_t penalty_window = 64;
  double repeat_penalty = 1;
  double frequency_penalty = 0;
  double presence_penalty = 0;
  double dry_multiplier = 0;
  double dry_base = 1.75;
  std::uint32_t dry_allowed_length = 2;
  std::uint32_t dry_window = whole_history;
  std::vector<std::vector<std::int32_t>> dry_breakers;
  bool mirostat = false;  // version 2, in place of top-k, typical, top-p and min-p
  double mirostat_tau = 5;
  double mirostat_eta = 0.1;
  std::vector<std::pair<std::int32_t, float>> logit_bias;
  std::uint64_t seed = 0;
};

class Sampler {
 public:
  // Scratch comes from `memory`, which must outlive the sampler; null: from the heap.
  explicit Sampler(std::uint64_t seed = 0, Memory* memory = nullptr);
  // bias, penalties, dry, top-k, typical, top-p, min-p, temperature (or: bias, penalties, dry, temperature, mirostat).
  static Sampler standard(const StandardSampling& options, Memory* memory = nullptr);
  Sampler(Sampler&&) noexcept = default;
  Sampler& operator=(Sampler&& other) noexcept;
  // The same chain in the same state, callbacks' user pointers included: what a forked sequence goes on with.
  Sampler clone() const;
  // For a clone: goes back to where the original is now, without a new allocation.
  void follow(const Sampler& original);

  // Wrong parameters throw Error(argument) with the name, the value and what is allowed. add_greedy and add_mirostat2
  // choose, so they end the chain: adding after them throws Error(state).
  void add_greedy();
  void add_temperature(double temperature);  // 0 or more; 0: argmax, the lowest id among equals
  void add_top_k(std::uint32_t k);           // 0: off
  void add_top_p(double p, std::uint32_t min_keep = 1);  // (0, 1]; 1: off
  void add_min_p(double p);                              // [0, 1]; 0: off
  void add_typical(double p);                            // (0, 1]; 1: off
  void add_mirostat2(double tau, double eta);            // tau (0, 1000] bits, eta [0, 100]
  // Over the last `window` accepted tokens; 0: off. repeat [1e-6, 1e6], 1: off; frequency, presence [-1e6, 1e6], 0: off,
  // negative rewards.
  void add_penalties(std::uint32_t window, double repeat, double frequency, double presence);
  // multiplier >= 0, 0: off; base >= 1; allowed_length >= 1. Breakers are token sequences, none empty.
  void add_dry(double multiplier, double base, std::uint32_t allowed_length, std::uint32_t window,
               std::vector<std::vector<std::int32_t>> breakers = {});
  void add_logit_bias(std::span<const std::pair<std::int32_t, float>> biases);
  // The host changes logits[0..n) in place, n = the vocabulary; a token that an earlier step dropped reads -infinity
  // and stays dropped. Non-zero stops: Error(callback) with that value as user_code.
  void add_callback(LogitsCallback callback, void* user);

  // Everything sample() will need for this vocabulary, now. History: how many of the last accepted tokens are kept, at
  // least (windows of steps lengthen it); whole_history means these. 4096 unless told.
  void prepare(std::size_t vocab, std::size_t history = 0);

  // Notes a token, of the prompt or sampled, for penalties, DRY and callbacks. sample() does not do it by itself.
  void accept(std::int32_t id);
  std::int32_t sample(std::span<const float> logits);
  // What sample() would draw from, ascending ids; changes nothing.
  void distribution(std::span<const float> logits, std::vector<TokenProbability>& out);

  // Of the row's own softmax, before any step. The k likeliest, best first; returns the logprob of `drawn` (any id).
  float top_logprobs(std::span<const float> logits, std::size_t k, std::int32_t drawn, std::vector<TokenLogprob>& out);
  float logprob(std::span<const float> logits, std::int32_t id);

  // Back to the beginning: no history, mu at 2 tau, the first number of the stream. The chain stays.
  void reset();
  void reset(std::uint64_t seed);

  // Position in the stream, mu and history as bytes, the same on every platform; the chain itself is the caller's to
  // rebuild. restore() takes untrusted bytes: Error(format), Error(unsupported) for a newer version, and Error(state)
  // when the chain has mirostat and the bytes do not, or the reverse.
  std::vector<std::uint8_t> save() const;
  void restore(std::span<const std::uint8_t> bytes);

  std::uint64_t seed() const noexcept { return rng_.seed(); }
  std::uint64_t position() const noexcept { return rng_.position(); }
  History history() const noexcept;
  std::span<const SamplerStep> steps() const noexcept { return steps_; }

 private:
  void add(SamplerStep step);
  void need_history(std::uint32_t window);
  void run(std::span<const float> logits);
  MirostatStep* mirostat() noexcept;
  const MirostatStep* mirostat() const noexcept;

  std::unique_ptr<Memory> own_memory_;
  Memory* memory_;
  Rng rng_;
  std::vector<SamplerStep> steps_;
  std::vector<std::int32_t> history_;  // grows to twice keep_, then its older half goes
  std::size_t keep_ = 4096;
  Candidates candidates_;
};

}  // namespace puna
