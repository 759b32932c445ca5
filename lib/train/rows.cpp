#include "rows.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <iterator>

#include "puna/base/carver.hpp"

namespace puna {
namespace {

TrainRows lay_out(Carver& to, const Config& c, const TrainOptions& o, std::byte*& scratch, std::size_t stride) {
  const std::uint64_t T = o.batch * o.row_length(), q = c.q_dim(), kv = c.kv_dim();
  const bool lora = o.method == TrainMethod::lora;
  TrainRows r{};
  r.x = to.take<float>((c.N + 1) * T, c.D);
  r.h = to.take<float>(T, c.D);
  r.q = to.take<float>(T, q), r.k = to.take<float>(T, kv), r.v = to.take<float>(T, kv), r.o = to.take<float>(T, q);
  r.log_sums = to.take<float>(T, c.H);
  r.mid = to.take<float>(T, c.D), r.h2 = to.take<float>(T, c.D);
  r.gate = to.take<float>(T, c.F), r.up = to.take<float>(T, c.F), r.f = to.take<float>(T, c.F);
  r.dx = to.take<float>(T, c.D), r.dh = to.take<float>(T, c.D);
  r.dq = to.take<float>(T, q), r.dk = to.take<float>(T, kv), r.dv = to.take<float>(T, kv), r.d_o = to.take<float>(T, q);
  r.df = to.take<float>(T, c.F);
  r.inverse = to.take<float>(T, 1);
  if (lora) {
    const std::uint64_t rows[] = {q, kv, kv, q, c.F, c.F, c.D};
    for (std::size_t i = 0; i < std::size(r.kept); ++i) {
      r.kept[i].u = to.take<float>(T, o.rank);
      if (o.dora && (o.targets >> i & 1)) r.kept[i].z = to.take<float>(T, rows[i]);
    }
    r.head_kept.u = to.take<float>(T, o.rank), r.gu = to.take<float>(T, o.rank);
    if (o.dora && (o.targets & target_head)) r.head_kept.z = to.take<float>(std::min<std::uint64_t>(head_rows, T), c.V);
    if (o.dropout > 0) r.dropped = to.take<float>(T, std::max({c.D, c.q_dim(), c.F}));
  }
  r.last = to.take<float>(T, c.D), r.d_last = to.take<float>(T, c.D);
  r.logits = to.take<float>(std::min<std::uint64_t>(head_rows, T), c.V);
  r.losses = to.take<double>(T, 1);
  scratch = to.take<std::byte>(o.threads, stride);
  return r;
}

}  // namespace

std::size_t TrainShape::scratch() const { return round_up(std::max(product_scratch, attention_train_scratch(o.length)), Memory::alignment); }

std::size_t TrainShape::bytes() const {
  Carver to{nullptr};
  std::byte* none = nullptr;
  lay_out(to, c, o, none, scratch());
  return size_product(to.used, 1);
}

TrainRows TrainShape::carve(std::byte* base, std::byte*& scratch_out) const {
  Carver to{base};
  return lay_out(to, c, o, scratch_out, scratch());
}

void adamw(const AdamStep& s, float* w, float* g, float* m, float* v, std::size_t n) {
  using Row = Eigen::Map<Eigen::ArrayXf>;
  const auto length = static_cast<Eigen::Index>(n);
  Row W(w, length), G(g, length), M(m, length), V(v, length);
  const auto t = static_cast<double>(s.step);
  const auto keep = static_cast<float>(1.0 - s.rate * s.decay);
  const auto pace = static_cast<float>(s.rate / (1.0 - std::pow(s.beta1, t)));
  const auto root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(s.beta2, t)));
  const auto b1 = static_cast<float>(s.beta1), b2 = static_cast<float>(s.beta2), c1 = static_cast<float>(1.0 - s.beta1),
             c2 = static_cast<float>(1.0 - s.beta2), epsilon = static_cast<float>(s.epsilon);
  G *= s.scale;
  M = b1 * M + c1 * G;
  V = b2 * V + c2 * G * G;
  W = keep * W - pace * M / (V.sqrt() * root + epsilon);
  G.setZero();
}

double square_sum(const float* x, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

}  // namespace puna
