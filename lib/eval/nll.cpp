#include "puna/eval/nll.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <string>

#include "puna/base/status.hpp"

namespace puna {

// In blocks that stay on the stack and vectorise; their sums are added in order.
double log_softmax_nll(std::span<const float> logits, std::int32_t target) {
  if (target < 0 || static_cast<std::size_t>(target) >= logits.size())
    fail(Code::argument, "token id " + std::to_string(target) + " has no logit among " + std::to_string(logits.size()));
  using Row = Eigen::Map<const Eigen::ArrayXf>;
  constexpr std::size_t block = 512;
  const double top = static_cast<double>(Row(logits.data(), static_cast<Eigen::Index>(logits.size())).maxCoeff());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); i += block) {
    const auto n = static_cast<Eigen::Index>(std::min(block, logits.size() - i));
    sum += (Row(logits.data() + i, n).cast<double>() - top).exp().sum();
  }
  return std::log(sum) - (static_cast<double>(logits[static_cast<std::size_t>(target)]) - top);
}

}  // namespace puna
