// The backward of the row-wise layers, a row at a time: what their tiles call (lib/nn/rows_back.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

namespace puna {

// dx (=|+=) r (u - x r^2 (u . x) / n), u = g * w, r = (mean x^2 + epsilon)^(-1/2), which is returned.
float rms_norm_row_back(float* dx, const float* g, const float* x, const float* weight, std::size_t n, float epsilon, bool add);

// y = silu(gate) * up; gate and up become their gradients.
void swiglu_row_back(const float* g, float* gate, float* up, std::size_t n);

// scores[i] = exp(scale * scores[i] - top) and the sum; top is their largest, returned in `log_sum` as top + log(sum). The
// scores are divided by the sum.
void softmax_row(float* scores, std::size_t n, float scale, float& log_sum);
// The same again when log_sum is known.
void softmax_row_again(float* scores, std::size_t n, float scale, float log_sum);
// dp becomes scale * p * (dp - d).
void softmax_row_back(float* dp, const float* p, std::size_t n, float d, float scale);

float dot_row(const float* a, const float* b, std::size_t n);

// -log softmax(logits)[target], in double; logits become weight * (softmax - onehot).
double cross_entropy_row(float* logits, std::size_t n, std::int32_t target, float weight);

}  // namespace puna
