#include "preference.hpp"

#include <cmath>

namespace puna {
namespace {

// Sums of the texts' losses: -log p.
void text_sums(const TrainCompute& s, const MicroBatch& batch, std::vector<double>& out) {
  for (std::size_t i = 0; i < batch.first_wanted.size(); ++i) {
    const std::uint32_t end = i + 1 < batch.first_wanted.size() ? batch.first_wanted[i + 1] : s.in.L;
    out[i] = 0;
    for (std::uint32_t w = batch.first_wanted[i]; w < end; ++w) out[i] += s.r.losses[w];
  }
}

// log(1 + exp(x)).
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

void weigh(const TrainCompute& s, double beta, double pair_weight, MicroBatch& batch) {
  std::vector<double> sums(batch.first_wanted.size());
  text_sums(s, batch, sums);
  for (std::size_t pair = 0; pair < sums.size() / 2; ++pair) {
    const double chosen = batch.reference[2 * pair] - sums[2 * pair], rejected = batch.reference[2 * pair + 1] - sums[2 * pair + 1];
    const double h = beta * (chosen - rejected);
    batch.pair_losses[pair] = softplus(-h), batch.margins[pair] = h;
    const double pull = beta * pair_weight / (1 + std::exp(h));
    const std::uint32_t first = batch.first_wanted[2 * pair], turn = batch.first_wanted[2 * pair + 1];
    const std::uint32_t end = 2 * pair + 2 < sums.size() ? batch.first_wanted[2 * pair + 2] : s.in.L;
    for (std::uint32_t w = first; w < end; ++w) batch.weights[w] = static_cast<float>(w < turn ? pull : -pull);
  }
}

}  // namespace

void preference_pass(const TrainCompute& s, const Trainable& trained, double beta, double pair_weight, MicroBatch& batch, bool learn) {
  // Not kept for the next epoch: sums depend on where a text lies in its pass, and a run that goes on must find the same bits.
  TrainInput plain = s.in;
  plain.dropout = {};
  train_pass({s.c, s.n, s.rope, s.r, plain}, trained.base(), false);
  s.c.pass(1, 0, [&](std::uint32_t, std::uint32_t) { text_sums(s, batch, batch.reference); });
  const float* x = train_forward(s, trained.params(), learn);
  head_train(s, trained.params(), x, false);
  s.c.pass(1, 0, [&](std::uint32_t, std::uint32_t) { weigh(s, beta, pair_weight, batch); });
  if (!learn) return;
  head_train(s, trained.params(), x, true);
  train_back(s, trained.params());
}

}  // namespace puna
