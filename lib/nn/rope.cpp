#include "puna/nn/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace puna {
namespace {

double yarn_correction(const Config& c, double rotations) {
  return c.E * std::log(c.rope_original_context / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(c.rope_theta));
}

// f_j, in the f32 that the published models were trained with.
std::vector<float> frequencies(const Config& c, std::uint32_t length) {
  double base = c.rope_theta;
  if (c.rope_scaling == Hyperparameters::RopeScaling::dynamic && length > c.rope_original_context && c.E > 2) {
    const double ratio = static_cast<double>(length) / c.rope_original_context;
    base *= std::pow(c.rope_factor * ratio - (c.rope_factor - 1.0), c.E / (c.E - 2.0));
  }
  std::vector<float> f(c.E / 2);
  for (std::uint32_t j = 0; j < c.E / 2; ++j) f[j] = static_cast<float>(std::pow(base, -2.0 * j / c.E));
  if (c.rope_scaling == Hyperparameters::RopeScaling::linear)
    for (float& x : f) x = static_cast<float>(x / c.rope_factor);
  if (c.rope_scaling == Hyperparameters::RopeScaling::yarn) {
    const double low = std::max(0.0, std::floor(yarn_correction(c, c.yarn_beta_fast)));
    double high = std::min(c.E - 1.0, std::ceil(yarn_correction(c, c.yarn_beta_slow)));
    if (high == low) high += 0.001;
    for (std::uint32_t j = 0; j < c.E / 2; ++j) {
      const double ramp = std::clamp((j - low) / (high - low), 0.0, 1.0);
      f[j] = static_cast<float>(f[j] / c.rope_factor * ramp + f[j] * (1.0 - ramp));
    }
  }
  return f;
}

}  // namespace

RopeTable::RopeTable(Memory& memory, const Config& c, std::uint32_t length)
    : table_(memory, size_product(length, c.E), "rope table", Raw{}), width_(c.E) {
  const std::vector<float> f = frequencies(c, length);
  double scale = 1.0;
  if (c.rope_scaling == Hyperparameters::RopeScaling::yarn)
    scale = c.yarn_attention_factor != 0.0 ? c.yarn_attention_factor
            : c.rope_factor > 1.0          ? 0.1 * std::log(c.rope_factor) + 1.0
                                           : 1.0;
  for (std::uint32_t m = 0; m < length; ++m) {
    float* row = table_.data() + static_cast<std::size_t>(m) * width_;
    for (std::uint32_t j = 0; j < c.E / 2; ++j) {
      const float angle = static_cast<float>(m) * f[j];  // rounded to f32, as the references do
      row[j] = static_cast<float>(std::cos(static_cast<double>(angle)) * scale);
      row[c.E / 2 + j] = static_cast<float>(std::sin(static_cast<double>(angle)) * scale);
    }
  }
}

}  // namespace puna
