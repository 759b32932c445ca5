// The loss of one prediction.
#pragma once

#include <cstdint>
#include <span>

namespace puna {

// -log softmax(logits)[target], natural log; the sum is taken in double.
double log_softmax_nll(std::span<const float> logits, std::int32_t target);

}  // namespace puna
