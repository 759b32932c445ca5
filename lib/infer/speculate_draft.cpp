// Guesses of a draft model: its cache follows the target's text, and goes ahead of it.
#include <algorithm>
#include <chrono>
#include <string>
#include <variant>

#include "puna/infer/speculate.hpp"

namespace puna {
namespace {

void check_same_vocabulary(const Model& draft, const Model& target) {
  const auto refuse = [&](const std::string& why) {
    fail(Code::argument, draft.name() + " cannot draft for " + target.name() + ": " + why);
  };
  if (draft.config().V != target.config().V)
    refuse("its vocabulary has " + std::to_string(draft.config().V) + " tokens, the model's " + std::to_string(target.config().V));
  const auto& a = draft.tokenizer();
  const auto& b = target.tokenizer();
  if (!a != !b) refuse(std::string(a ? "the model" : "it") + " has no tokenizer");
  if (a && a->hash() != b->hash()) refuse("their tokenizers differ (" + a->hash().substr(0, 12) + ", " + b->hash().substr(0, 12) + ")");
}

// A host's callback expects the target's logits, each row once: it is not asked about a guess.
bool may_follow(const Sampler& sampler) {
  return std::none_of(sampler.steps().begin(), sampler.steps().end(),
                      [](const SamplerStep& s) { return std::holds_alternative<CallbackStep>(s); });
}

}  // namespace

DraftProposer::DraftProposer(Session& draft, std::uint32_t sequence, const Session& target, const Sampler* sampler)
    : draft_(draft), sequence_(sequence), target_sampler_(sampler && may_follow(*sampler) ? sampler : nullptr) {
  if (&draft == &target) fail(Code::argument, "the draft session is the session itself");
  draft_.length(sequence);  // checks it
  check_same_vocabulary(draft.model(), target.model());
  size_ratio_ = static_cast<double>(draft.model().weight_bytes()) / static_cast<double>(std::max<std::uint64_t>(target.model().weight_bytes(), 1));
  if (target_sampler_) sampler_ = target_sampler_->clone();
  pending_.reserve(draft.options().context);
  sequences_.reserve(draft.options().context);
  guesses_.reserve(SpeculationPace::most);
}

// What of the draft's cache is the target's text stays; pending_ is what it lacks.
bool DraftProposer::catch_up(std::span<const std::int32_t> held) {
  const auto own = draft_.cache().ids(sequence_);
  const auto common = static_cast<std::uint32_t>(std::min(own.size(), held.size()));
  agreed_ = std::min(agreed_, common);
  while (agreed_ < common && own[agreed_] == held[agreed_]) ++agreed_;
  const auto missing = held.subspan(agreed_);
  if (held.size() >= draft_.options().context || std::find_if(missing.begin(), missing.end(), [](auto id) { return id < 0; }) != missing.end())
    return false;
  draft_.truncate(sequence_, agreed_);
  pending_.assign(missing.begin(), missing.end());
  return true;
}

bool DraftProposer::feed(std::span<const std::int32_t> ids) {
  sequences_.assign(ids.size(), sequence_);
  FeedInput in;
  in.ids = ids;
  in.count = static_cast<std::uint32_t>(ids.size());
  in.sequences = sequences_;
  try {
    draft_.begin_feed(in);
  } catch (const Error& error) {
    if (error.code() != Code::context_full) throw;
    return false;  // its other sequences hold the room
  }
  last_row_ = in.count - 1;
  feed_ms_ = 0;
  return true;
}

// Goes on with the feed in progress, and notes what a token took when it is done.
bool DraftProposer::advance(const Deadline& deadline, const CancelToken* cancel) {
  const auto from = Clock::now();
  const bool done = draft_.step_feed(deadline, cancel);
  feed_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - from).count();
  if (done) (last_row_ == 0 ? guess_ms_ : prompt_ms_) = feed_ms_ / (last_row_ + 1);
  return done;
}

bool DraftProposer::prepare(std::span<const std::int32_t> held, const Deadline& deadline, const CancelToken* cancel) {
  if (!begun_ && (!catch_up(held) || pending_.empty() || !feed(pending_))) return true;
  begun_ = true;
  if (!advance(deadline, cancel)) return false;
  begun_ = false;
  return true;
}

Proposer::Offer DraftProposer::offer(std::span<const std::int32_t> held, std::int32_t next, std::uint32_t most) {
  begun_ = false;
  draft_.abort_feed();
  if (!catch_up(held)) return {};
  pending_.push_back(next);
  return {std::min<std::uint32_t>(most, draft_.options().context - static_cast<std::uint32_t>(held.size())), 0};
}

bool DraftProposer::step(std::uint32_t count, const Deadline& deadline, const CancelToken* cancel) {
  const auto& tokenizer = draft_.model().tokenizer();
  if (!begun_) {
    guesses_.clear();
    if (sampler_) sampler_->follow(*target_sampler_);
    if (!feed(pending_)) return true;
    begun_ = true;
  }
  while (advance(deadline, cancel)) {
    Sampler& chooser = sampler_ ? *sampler_ : draft_.greedy();
    std::int32_t id;
    try {
      id = chooser.sample(draft_.logits(last_row_));
    } catch (const Error& error) {
      if (error.code() != Code::argument) throw;
      return true;  // no number among its logits: no guess, which is no failure of the target
    }
    guesses_.push_back(id);
    const bool ends = tokenizer && (id == tokenizer->eos() || id == tokenizer->bos());
    if (guesses_.size() == count || ends) return true;
    if (sampler_) sampler_->accept(id);
    if (!feed({&id, 1})) return true;
    if (deadline.passed()) return false;
  }
  return false;
}

double DraftProposer::cost(std::uint32_t count, double target_ms) const {
  const double one = guess_ms_ > 0 ? guess_ms_ : size_ratio_ * target_ms;
  const double many = prompt_ms_ > 0 ? std::min(prompt_ms_, one) : one;
  return count * one + static_cast<double>(pending_.size() - 1) * many;
}

}  // namespace puna
