// The steps a Sampler chains, and what they work on: the candidates for one token.
//
// The candidates stand in ascending order of id, always: a step changes logits or drops candidates and keeps the order
// of the others. "Most likely" means the larger logit, then the lower id: a total order, the same on every platform.
// Sums run in double over ascending ids, or over the total order where a definition says so.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "puna/base/memory.hpp"

namespace puna {

// A window as long as the history that is kept.
inline constexpr std::uint32_t whole_history = 0xffffffffu;

class Candidates {
 public:
  // Makes room for a vocabulary, and for repetition lengths over a history (DRY). Keeps what is already large enough.
  void prepare(Memory& memory, std::size_t vocab, std::size_t history);
  static std::size_t bytes(std::size_t vocab) noexcept;  // what prepare(memory, vocab, 0) takes
  std::size_t vocab() const noexcept { return logits_.size(); }

  // Every token of the vocabulary, logits copied. Throws Error(argument) for a NaN, with its id.
  void load(std::span<const float> logits);

  std::size_t size() const noexcept { return size_; }
  std::span<float> logits() noexcept { return {logits_.data(), size_}; }
  std::span<const std::int32_t> ids() const noexcept { return {ids_.data(), size_}; }
  void check_not_nan(const char* writer) const;

  // Place of the most likely one. Throws Error(argument) when every logit is -infinity.
  std::size_t best() const;

  // weights()[i] = exp(logit[i] - largest); returns their sum. With +infinity among the logits: 1 for those, else 0.
  double weigh();
  std::span<const double> weights() const noexcept { return {weights_.data(), size_}; }
  // logit[i] - largest, as weigh() reads it.
  double below_best(std::size_t i, float best) const noexcept;

  // Sorting: keys whose ascending order is what is wanted, place (index) in the low 32 bits.
  // By descending logit, then ascending place; -0 and +0 are one number.
  static std::uint64_t likely_first(float logit, std::size_t place) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(logit + 0.0f);  // -0 + 0 = +0
    const std::uint32_t descending = (bits >> 31) ? bits : bits ^ 0x7fffffffu;
    return (static_cast<std::uint64_t>(descending) << 32) | static_cast<std::uint32_t>(place);
  }
  static std::size_t place_of(std::uint64_t key) noexcept { return static_cast<std::uint32_t>(key); }
  std::uint64_t* keys() noexcept { return keys_.data(); }
  void sort_keys(std::size_t count);  // the keys must come with ascending places

  void keep_only(std::size_t place);
  // Keeps those of the first `count` keys, which may stand in any order.
  void keep_keys(std::size_t count);
  template <class Predicate>
  void keep_if(Predicate&& keep) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      if (!keep(i)) continue;
      logits_[kept] = logits_[i];
      ids_[kept] = ids_[i];
      ++kept;
    }
    if (kept != size_) ids_are_all_ = false;
    size_ = kept;
  }

  // A count per id, all zero between steps; and scratch for repetition lengths.
  std::span<std::int32_t> marks() noexcept { return marks_.span(); }
  std::span<std::int32_t> lengths() noexcept { return lengths_.span(); }
  float* whole_row() noexcept { return row_.data(); }

 private:
  Buffer<float> logits_;
  Buffer<std::int32_t> ids_;
  Buffer<double> weights_;
  Buffer<std::uint64_t> keys_;
  Buffer<std::uint64_t> keys_too_;
  Buffer<std::uint32_t> digits_;
  Buffer<std::int32_t> marks_;
  Buffer<std::int32_t> lengths_;
  Buffer<float> row_;
  std::size_t size_ = 0;
  bool ids_are_all_ = false;  // ids_ holds 0, 1, 2, …
};

using History = std::span<const std::int32_t>;  // tokens accepted so far, oldest first

struct GreedyStep {
  void apply(Candidates& c, History) const;
};
// Divides by t. Below 1e-6, where float32 quotients no longer tell logits apart: the argmax.
struct TemperatureStep {
  double t;
  void apply(Candidates& c, History) const;
};
struct TopKStep {
  std::uint32_t k;
  void apply(Candidates& c, History) const;
};
// Meta's rule: from the most likely on, a token goes when those before it already sum to more than p.
struct TopPStep {
  double p;
  std::uint32_t min_keep;
  void apply(Candidates& c, History) const;
};
// Tokens at least p times as likely as the most likely one.
struct MinPStep {
  double p;
  void apply(Candidates& c, History) const;
};
// Locally typical sampling (Meister et al. 2022): the tokens whose surprise is nearest the entropy, until they sum to p.
struct TypicalStep {
  double p;
  void apply(Candidates& c, History) const;
};
// Mirostat 2 (Basu et al. 2021), surprise in bits: drops what is above mu, and after the draw moves mu towards tau.
struct MirostatStep {
  double tau, eta, mu;
  void apply(Candidates& c, History) const;
  void observe(double probability);  // of the token drawn, among those left
};
// Repetition (Keskar et al. 2019: logit / r if positive, else * r), frequency and presence penalties.
struct PenaltiesStep {
  std::uint32_t window;
  double repeat, frequency, presence;
  void apply(Candidates& c, History history) const;
};
// DRY (p-e-w): a token that would make a repeated run of n tokens longer loses multiplier * base^(n - allowed).
struct DryStep {
  double multiplier, base;
  std::uint32_t allowed, window;
  std::vector<std::vector<std::int32_t>> breakers;  // token sequences; a run reaches back to the last one at most
  void apply(Candidates& c, History history) const;
};
struct LogitBiasStep {
  std::vector<std::pair<std::int32_t, float>> biases;  // ascending ids, each once; -inf bans, +inf forces
  void apply(Candidates& c, History) const;
};
using LogitsCallback = std::int32_t (*)(void* user, float* logits, std::size_t n, const std::int32_t* history,
                                        std::size_t count);
struct CallbackStep {
  LogitsCallback call;
  void* user;
  void apply(Candidates& c, History history) const;
};

using SamplerStep = std::variant<GreedyStep, TemperatureStep, TopKStep, TopPStep, MinPStep, TypicalStep, MirostatStep,
                                 PenaltiesStep, DryStep, LogitBiasStep, CallbackStep>;

}  // namespace puna
