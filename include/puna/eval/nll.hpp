// What a row of logits says against one token: the measure under perplexity.
#pragma once

#include <cstdint>
#include <span>

namespace puna {

// -log softmax(logits)[target], in nats, summed in double. The same bits on every run of a build; not promised across
// platforms (a measure, not a decision: those use base/portable_math.hpp). A row with +infinity, or a NaN, gives what
// IEEE gives. Error(argument) for a target without a logit.
double log_softmax_nll(std::span<const float> logits, std::int32_t target);

}  // namespace puna
