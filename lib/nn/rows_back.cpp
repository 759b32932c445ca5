#include "puna/nn/rows_back.hpp"

#include <Eigen/Core>
#include <cmath>

namespace puna {
namespace {

using Row = Eigen::Map<Eigen::ArrayXf>;
using ConstRow = Eigen::Map<const Eigen::ArrayXf>;

ConstRow row(const float* x, std::size_t n) { return {x, static_cast<Eigen::Index>(n)}; }
Row row(float* x, std::size_t n) { return {x, static_cast<Eigen::Index>(n)}; }

}  // namespace

float rms_norm_row_back(float* dx, const float* g, const float* x, const float* weight, std::size_t n, float epsilon, bool add) {
  double square = 0, along = 0;
  for (std::size_t i = 0; i < n; ++i) {
    square += static_cast<double>(x[i]) * x[i];
    along += static_cast<double>(g[i]) * weight[i] * x[i];
  }
  const double r = 1.0 / std::sqrt(square / static_cast<double>(n) + static_cast<double>(epsilon));
  const auto scale = static_cast<float>(r);
  const auto pull = static_cast<float>(r * r * r * along / static_cast<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    const float d = scale * g[i] * weight[i] - pull * x[i];
    dx[i] = add ? dx[i] + d : d;
  }
  return scale;
}

void swiglu_row_back(const float* g, float* gate, float* up, std::size_t n) {
  constexpr std::size_t part = 256;
  Eigen::Array<float, static_cast<int>(part), 1> sigmoid;
  for (std::size_t i = 0; i < n; i += part) {
    const std::size_t count = n - i < part ? n - i : part;
    auto s = sigmoid.head(static_cast<Eigen::Index>(count));
    auto a = row(gate + i, count), b = row(up + i, count);
    const auto e = row(g + i, count);
    s = 1.0f / (1.0f + (-a).max(-88.0f).min(88.0f).exp());
    for (std::size_t j = 0; j < count; ++j) {
      const auto at = static_cast<Eigen::Index>(j);
      const float z = a[at], y = s[at], db = e[at] * z * y;
      a[at] = e[at] * b[at] * y * (1.0f + z * (1.0f - y));
      b[at] = db;
    }
  }
}

void softmax_row(float* scores, std::size_t n, float scale, float& log_sum) {
  auto s = row(scores, n);
  const float top = s.maxCoeff();
  s = ((s - top) * scale).exp();
  const float sum = s.sum();
  s *= 1.0f / sum;
  log_sum = scale * top + std::log(sum);
}

void softmax_row_again(float* scores, std::size_t n, float scale, float log_sum) {
  auto s = row(scores, n);
  s = (s * scale - log_sum).exp();
}

void softmax_row_back(float* dp, const float* p, std::size_t n, float d, float scale) {
  auto s = row(dp, n);
  s = scale * row(p, n) * (s - d);
}

float dot_row(const float* a, const float* b, std::size_t n) { return (row(a, n) * row(b, n)).sum(); }

double cross_entropy_row(float* logits, std::size_t n, std::int32_t target, float weight) {
  auto s = row(logits, n);
  const float top = s.maxCoeff();
  const float wanted = s[target] - top;
  s = (s - top).exp();
  double sum = 0;
  for (std::size_t i = 0; i < n; i += 512) sum += s.segment(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(n - i < 512 ? n - i : 512)).cast<double>().sum();
  s *= static_cast<float>(static_cast<double>(weight) / sum);
  s[target] -= weight;
  return std::log(sum) - static_cast<double>(wanted);
}

}  // namespace puna
