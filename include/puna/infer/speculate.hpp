// Speculation: guess what comes next, compute the guesses in one pass, keep those that plain decoding would have drawn.
//
// The verifier is the generator's own loop: for each row of the pass in turn the sampler draws as ever, with the number
// of its stream that belongs to that token and its state (penalties, DRY, mirostat, a host's callback) up to date. A
// guess is kept while it is what was drawn. So the text is token for token the one without speculation, greedy or
// sampled, whatever was guessed and however many: what a guess can change is time alone. For one guess per token that
// accepts exactly as often as the rejection rule of Leviathan et al. 2023 (with p of the guess), and a seed keeps its
// text, which that rule would not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "puna/base/cancel.hpp"
#include "puna/infer/sampler.hpp"
#include "puna/infer/session.hpp"

namespace puna {

// Where guesses come from. A hook: tests and benchmarks bring their own.
class Proposer {
 public:
  // Acceptance is learnt apart for each kind of guess: long matches are better than short ones.
  static constexpr std::uint32_t kinds = 4;
  struct Offer {
    std::uint32_t count = 0, kind = 0;
  };

  virtual ~Proposer() = default;
  // Once, when the prompt is known. history: what the sequence held before it.
  virtual void start(std::span<const std::int32_t> history, std::span<const std::int32_t> prompt) = 0;
  // Work of its own on the prompt, resumable, when the target's is done; held: all of it. True when ready.
  virtual bool prepare(std::span<const std::int32_t> held, const Deadline& deadline, const CancelToken* cancel) {
    static_cast<void>(held), static_cast<void>(deadline), static_cast<void>(cancel);
    return true;
  }
  // Each token that was drawn, in turn.
  virtual void drawn(std::int32_t id) = 0;
  // The text is `held` (in the cache) and then `next` (drawn, not yet computed): how many guesses, up to `most`?
  virtual Offer offer(std::span<const std::int32_t> held, std::int32_t next, std::uint32_t most) = 0;
  // Work for `count` guesses of the last offer, resumable; true when guesses() has them.
  virtual bool step(std::uint32_t count, const Deadline& deadline, const CancelToken* cancel) = 0;
  virtual std::span<const std::int32_t> guesses() const = 0;
  // Milliseconds that `count` guesses of the last offer will take, for a target that takes target_ms per token.
  virtual double cost(std::uint32_t count, double target_ms) const = 0;
};

// No second model: what followed the same words before, in prompt and history.
class SuffixProposer final : public Proposer {
 public:
  explicit SuffixProposer(SuffixIndex& index, std::uint32_t most) : index_(index), guesses_(most) {}
  void start(std::span<const std::int32_t> history, std::span<const std::int32_t> prompt) override;
  void drawn(std::int32_t id) override { index_.append(id); }
  Offer offer(std::span<const std::int32_t> held, std::int32_t next, std::uint32_t most) override;
  bool step(std::uint32_t count, const Deadline&, const CancelToken*) override { return count_ = count, true; }
  std::span<const std::int32_t> guesses() const override { return std::span(guesses_).first(count_); }
  double cost(std::uint32_t, double) const override { return 0; }

 private:
  SuffixIndex& index_;
  std::vector<std::int32_t> guesses_;
  std::uint32_t count_ = 0;
};

// A small model of the same vocabulary in a session of its own, of which one sequence is used. It draws with a copy of
// the sampler in the same state, so with the same numbers as the target will.
class DraftProposer final : public Proposer {
 public:
  // sampler: the target's, followed; null: greedy. Throws Error(argument) when the vocabularies differ.
  DraftProposer(Session& draft, std::uint32_t sequence, const Session& target, const Sampler* sampler);
  ~DraftProposer() override { draft_.abort_feed(); }
  void start(std::span<const std::int32_t>, std::span<const std::int32_t>) override {}
  bool prepare(std::span<const std::int32_t> held, const Deadline& deadline, const CancelToken* cancel) override;
  void drawn(std::int32_t) override {}
  Offer offer(std::span<const std::int32_t> held, std::int32_t next, std::uint32_t most) override;
  bool step(std::uint32_t count, const Deadline& deadline, const CancelToken* cancel) override;
  std::span<const std::int32_t> guesses() const override { return guesses_; }
  double cost(std::uint32_t count, double target_ms) const override;

 private:
  bool catch_up(std::span<const std::int32_t> held);  // false: it cannot
  bool feed(std::span<const std::int32_t> ids);
  bool advance(const Deadline& deadline, const CancelToken* cancel);

  Session& draft_;
  std::uint32_t sequence_;
  const Sampler* target_sampler_;
  std::optional<Sampler> sampler_;
  double size_ratio_;  // of its weights to the target's
  std::uint32_t agreed_ = 0;  // tokens of the draft's cache that are known to be the target's
  std::vector<std::int32_t> pending_;  // what its cache lacks, `next` last
  std::vector<std::uint32_t> sequences_;
  std::vector<std::int32_t> guesses_;
  std::uint32_t last_row_ = 0;
  bool begun_ = false;        // guessing, or preparing
  double feed_ms_ = 0;        // of the feed in progress
  double guess_ms_ = 0;       // measured, of one token alone; 0: not yet
  double prompt_ms_ = 0;      // and of one among many
};

// How many guesses pay, from what was measured: the time of a pass of n rows, and how often the guess at each place is
// kept. What speculation may lose is a purse, filled by half a token's time at the start, 1% of the time of decoding,
// and what it saves: a bet that the purse does not cover is not made. So it ramps up as it wins, is off where it loses,
// and tries again when the purse allows.
class SpeculationPace {
 public:
  static constexpr std::uint32_t most = 64;

  explicit SpeculationPace(std::uint32_t limit) : limit_(limit) {}
  std::uint32_t limit() const { return limit_; }

  // Of the offered guesses, how many to compute: 0 to offer.count.
  std::uint32_t choose(const Proposer::Offer& offer, const Proposer& proposer) const;
  // Whether asking for an offer can lead to anything now.
  bool ready() const { return limit_ > 0 && measured_[1] > 0; }
  // A pass without guesses took this long.
  void plain(double ms);
  // One with `count` guesses, `accepted` of them kept; `propose_ms` went into guessing.
  void speculated(std::uint32_t kind, std::uint32_t count, std::uint32_t accepted, double pass_ms, double propose_ms);

 private:
  static constexpr double first_purse = 0.5, full_purse = 8;  // in plain tokens
  static constexpr double share_to_lose = 0.01;
  double pass_ms(std::uint32_t rows) const;  // expected
  double kept(std::uint32_t kind, std::uint32_t place, double before) const;

  struct Place {
    double tried = 0, kept = 0;
  };
  std::uint32_t limit_;
  std::array<double, most + 2> measured_{};  // by rows; 0: never
  std::array<std::array<Place, most>, Proposer::kinds> places_{};
  double purse_ = 0;  // milliseconds
  bool opened_ = false;
};

}  // namespace puna
