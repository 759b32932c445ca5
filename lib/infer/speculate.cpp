#include "puna/infer/speculate.hpp"

#include <algorithm>

namespace puna {
namespace {

constexpr double hope = 0.7;            // that a guess is kept, before any was tried
constexpr double belief = 2;            // how many tries that counts for
constexpr double memory = 0.97;         // of what was tried, from try to try
constexpr double row_share = 0.15;      // of a pass of one row, for each further row, before any was measured
constexpr double fill = 0.95;           // of a full purse: a bet that large may always be made in the end

// Other work on the machine only ever makes a pass slower, so what is faster counts more.
void learn(double& estimate, double ms) {
  estimate = estimate == 0 ? ms : estimate + (ms < estimate ? 0.5 : 0.1) * (ms - estimate);
}

}  // namespace

void SuffixProposer::start(std::span<const std::int32_t> history, std::span<const std::int32_t> prompt) {
  index_.clear();
  for (const auto part : {history, prompt})
    for (const std::int32_t id : part) index_.append(id);
}

Proposer::Offer SuffixProposer::offer(std::span<const std::int32_t>, std::int32_t, std::uint32_t most) {
  std::uint32_t match = 0;
  const std::span<std::int32_t> out = std::span(guesses_).first(std::min<std::size_t>(most, guesses_.size()));
  std::uint32_t count = index_.propose(out, match);
  // Where an embedding was fed there is no token to guess.
  count = static_cast<std::uint32_t>(std::find_if(out.begin(), out.begin() + count, [](auto id) { return id < 0; }) - out.begin());
  return {count, match < 3 ? 0u : match < 5 ? 1u : match < 9 ? 2u : 3u};
}

double SpeculationPace::pass_ms(std::uint32_t rows) const {
  if (measured_[rows] > 0) return measured_[rows];
  std::uint32_t below = rows, above = rows;
  while (measured_[below] == 0) --below;  // of one row there is always a time
  while (above <= limit_ + 1 && measured_[above] == 0) ++above;
  if (above <= limit_ + 1)
    return measured_[below] + (measured_[above] - measured_[below]) * (rows - below) / (above - below);
  const double each = below > 1 ? std::max(0.0, measured_[below] - measured_[1]) / (below - 1) : row_share * measured_[1];
  return measured_[below] + each * (rows - below);
}

double SpeculationPace::kept(std::uint32_t kind, std::uint32_t place, double before) const {
  const Place& p = places_[kind][place];
  return (p.kept + belief * before) / (p.tried + belief);
}

std::uint32_t SpeculationPace::choose(const Proposer::Offer& offer, const Proposer& proposer) const {
  if (!ready()) return 0;
  const double one = measured_[1];
  double expected = 1, chance = 1, share = hope, best_rate = 0;
  std::uint32_t best = 0;
  for (std::uint32_t count = 1; count <= std::min(offer.count, limit_); ++count) {
    share = kept(offer.kind, count - 1, share);
    chance *= share;
    expected += chance;
    const double ms = pass_ms(count + 1) + proposer.cost(count, one);
    if (std::min(ms - one, fill * full_purse * one) > purse_) break;
    if (expected / ms > best_rate) {
      best_rate = expected / ms;
      best = count;
    }
  }
  return best;
}

void SpeculationPace::plain(double ms) {
  learn(measured_[1], ms);
  const double one = measured_[1];
  if (!opened_) purse_ += first_purse * one;
  opened_ = true;
  purse_ = std::min(purse_ + share_to_lose * one, full_purse * one);
}

void SpeculationPace::speculated(std::uint32_t kind, std::uint32_t count, std::uint32_t accepted, double pass_ms, double propose_ms) {
  learn(measured_[count + 1], pass_ms);
  for (std::uint32_t i = 0; i < count && i <= accepted; ++i) {
    Place& p = places_[kind][i];
    p.tried = p.tried * memory + 1;
    p.kept = p.kept * memory + (i < accepted ? 1 : 0);
  }
  const double one = measured_[1];
  const double gained = (accepted + 1) * one - measured_[count + 1] - propose_ms;
  purse_ = std::min(purse_ + gained + share_to_lose * one, full_purse * one);
}

}  // namespace puna
