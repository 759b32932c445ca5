// The slab of a training pass, and AdamW on a stretch of floats.
#pragma once

#include "puna/nn/block_train.hpp"
#include "puna/train/options.hpp"

namespace puna {

struct TrainShape {
  const Config& c;
  const TrainOptions& o;

  std::size_t scratch() const;  // of a worker
  std::size_t bytes() const;
  TrainRows carve(std::byte* base, std::byte*& scratch) const;
};

struct AdamStep {
  double rate, beta1, beta2, epsilon, decay = 0;
  float scale;  // of the gradient
  std::uint64_t step;  // from 1
};
void adamw(const AdamStep& a, float* w, float* g, float* m, float* v, std::size_t n);
double square_sum(const float* x, std::size_t n);

}  // namespace puna
