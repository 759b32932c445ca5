// Direct preference optimisation (Rafailov et al., 2023): of two answers to a prompt, the chosen one is to gain on the rejected one
// against the model that it began as, which is the same model without its adapter: no second copy.
//   loss = -log sigmoid(h),  h = beta ((log p(chosen) - log p0(chosen)) - (log p(rejected) - log p0(rejected)))
#pragma once

#include "puna/train/batches.hpp"
#include "puna/train/trainable.hpp"

namespace puna {

// Saved for backward: the texts' log-probabilities. Backward: a chosen token's -log p weighs beta sigmoid(-h), a rejected one's
// -beta sigmoid(-h); so the head runs twice, once to know h.
void preference_pass(const TrainCompute& s, const Trainable& trained, double beta, double pair_weight, MicroBatch& batch, bool learn);

}  // namespace puna
