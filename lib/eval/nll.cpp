#include "puna/eval/nll.hpp"

#include <cmath>

#include <Eigen/Core>

namespace puna {

double log_softmax_nll(std::span<const float> logits, std::int32_t target) {
  const Eigen::Map<const Eigen::ArrayXf> row(logits.data(), static_cast<Eigen::Index>(logits.size()));
  const float largest = row.maxCoeff();
  const double sum = (row - largest).exp().cast<double>().sum();
  return std::log(sum) - (static_cast<double>(logits[static_cast<std::size_t>(target)]) - largest);
}

}  // namespace puna
