// Every layer's backward against central differences of its formula in double precision.
#include <functional>
#include <random>

#include "puna/nn/block_train.hpp"
#include "train_support.hpp"

using namespace puna_test;
using puna::Matrix;
using Doubles = std::vector<double>;
using Floats = std::vector<float>;

namespace {

struct Bench {  // what a layer needs to run
  puna::TaskSystem tasks{2, 0};
  puna::Pass pass{tasks, 2};
  std::size_t stride = std::max(puna::product_scratch, puna::attention_train_scratch(64)) + 64;
  std::vector<std::byte> memory = std::vector<std::byte>(2 * stride + 64);
  puna::Compute c{puna::machine_kernels(), pass, aligned(), stride / 64 * 64};
  std::byte* aligned() { return memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64; }
  Bench() {
    pass.start();
    pass.resume({}, nullptr);
  }
};

Floats draw(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 gen(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats x(n);
  for (float& v : x) v = normal(gen);
  return x;
}

// d/dx of sum g * f(x).
Doubles differences(const Floats& x, const Floats& g, const std::function<Doubles(const Doubles&)>& f) {
  Doubles at(x.begin(), x.end()), d(x.size());
  const auto value = [&] {
    const Doubles y = f(at);
    REQUIRE(y.size() == g.size());
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += g[i] * y[i];
    return sum;
  };
  constexpr double h = 1e-5;
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double kept = at[i];
    at[i] = kept + h;
    const double up = value();
    at[i] = kept - h;
    d[i] = (up - value()) / (2 * h);
    at[i] = kept;
  }
  return d;
}

void check(const Floats& ours, const Doubles& expected) {
  REQUIRE(ours.size() == expected.size());
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < ours.size(); ++i)
    difference += (ours[i] - expected[i]) * (ours[i] - expected[i]), length += expected[i] * expected[i];
  REQUIRE(length > 0);
  CHECK(std::sqrt(difference) <= 1e-5 * std::sqrt(length));
}

Matrix view(const Floats& x, std::uint32_t rows, std::uint32_t columns) {
  return {puna::DType::f32, reinterpret_cast<const std::byte*>(x.data()), rows, columns, columns * sizeof(float), 0};
}

Doubles multiply(const Doubles& x, const Doubles& w, std::size_t T, std::size_t C, std::size_t R) {
  Doubles y(T * R);
  for (std::size_t t = 0; t < T; ++t)
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t k = 0; k < C; ++k) y[t * R + r] += x[t * C + k] * w[r * C + k];
  return y;
}

}  // namespace

TEST_CASE("rms_norm: input and weight") {
  Bench b;
  constexpr std::uint32_t T = 3, D = 20;
  const Floats x = draw(T * D, 1), w = draw(D, 2), g = draw(T * D, 3);
  Floats dx(T * D), dw(D), inverse(T);
  puna::rms_norm_back(b.c, dx.data(), g.data(), x.data(), w.data(), inverse.data(), T, D, 1e-5f, false);
  puna::rms_norm_weight_back(b.c, dw.data(), g.data(), x.data(), inverse.data(), T, D);
  const auto norm = [&](const Doubles& in, const Doubles& weight) {
    Doubles y(T * D);
    for (std::size_t t = 0; t < T; ++t) {
      double sum = 0;
      for (std::size_t i = 0; i < D; ++i) sum += in[t * D + i] * in[t * D + i];
      for (std::size_t i = 0; i < D; ++i) y[t * D + i] = weight[i] * in[t * D + i] / std::sqrt(sum / D + 1e-5);
    }
    return y;
  };
  const Doubles xd(x.begin(), x.end()), wd(w.begin(), w.end());
  check(dx, differences(x, g, [&](const Doubles& in) { return norm(in, wd); }));
  check(dw, differences(w, g, [&](const Doubles& in) { return norm(xd, in); }));
}

TEST_CASE("swiglu: gate and up") {
  Bench b;
  constexpr std::uint32_t T = 2, F = 300;
  Floats gate = draw(T * F, 4, 3), up = draw(T * F, 5);
  const Floats g = draw(T * F, 6);
  const auto f = [](const Doubles& z, const Doubles& u) {
    Doubles y(z.size());
    for (std::size_t i = 0; i < z.size(); ++i) y[i] = z[i] / (1 + std::exp(-z[i])) * u[i];
    return y;
  };
  const Doubles zd(gate.begin(), gate.end()), ud(up.begin(), up.end());
  const Doubles dz = differences(gate, g, [&](const Doubles& in) { return f(in, ud); });
  const Doubles du = differences(up, g, [&](const Doubles& in) { return f(zd, in); });
  puna::swiglu_back(b.c, g.data(), gate.data(), up.data(), T, F);
  check(gate, dz);
  check(up, du);
}

TEST_CASE("linear: input and weight, and an adapter's two matrices") {
  Bench b;
  constexpr std::uint32_t T = 5, C = 12, R = 9, rank = 3;
  const Floats x = draw(T * C, 7), w = draw(R * C, 8), g = draw(T * R, 9), A = draw(rank * C, 10), B = draw(R * rank, 11);
  Floats dx(T * C), dw(R * C), da(A.size()), db(B.size()), u(T * rank), gu(T * rank), y(T * R);
  const puna::Lora l{rank, 0.5f, A.data(), B.data(), da.data(), db.data(), 0};
  puna::weight_product(b.c, y.data(), x.data(), T, view(w, R, C), false);
  puna::lora(b.c, l, y.data(), x.data(), T, C, R, {}, {u.data(), gu.data(), nullptr});
  puna::weight_product_back(b.c, dx.data(), g.data(), T, view(w, R, C), false);
  puna::outer_product(b.c, dw.data(), g.data(), R, x.data(), C, T);
  puna::lora_back(b.c, l, dx.data(), g.data(), x.data(), T, C, R, {}, {u.data(), gu.data(), nullptr});
  const auto f = [&](const Doubles& in, const Doubles& weight, const Doubles& a, const Doubles& bb) {
    Doubles out = multiply(in, weight, T, C, R);
    const Doubles low = multiply(multiply(in, a, T, C, rank), bb, T, rank, R);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += 0.5 * low[i];
    return out;
  };
  const Doubles xd(x.begin(), x.end()), wd(w.begin(), w.end()), ad(A.begin(), A.end()), bd(B.begin(), B.end());
  check(y, f(xd, wd, ad, bd));
  check(dx, differences(x, g, [&](const Doubles& in) { return f(in, wd, ad, bd); }));
  check(dw, differences(w, g, [&](const Doubles& in) { return f(xd, in, ad, bd); }));
  check(da, differences(A, g, [&](const Doubles& in) { return f(xd, wd, in, bd); }));
  check(db, differences(B, g, [&](const Doubles& in) { return f(xd, wd, ad, in); }));
}

TEST_CASE("rope: the opposite turn") {
  Bench b;
  puna::Config n;
  n.H = 2, n.K = 1, n.E = 6, n.context = 16;
  puna::Memory memory;
  const puna::RopeTable rope(memory, n, 16);
  constexpr std::uint32_t T = 4;
  const std::uint32_t begin[T] = {0, 0, 2, 2}, end[T] = {2, 2, 4, 4};
  const puna::Segments s{begin, end};
  const Floats q = draw(T * 12, 12), g = draw(T * 12, 13);
  Floats dq = g, k(T * 6);
  puna::rope_rows(b.c, n, dq.data(), k.data(), rope, s, T, -1.0f);
  check(dq, differences(q, g, [&](const Doubles& in) {
    Doubles y(in.size());
    for (std::size_t t = 0; t < T; ++t)
      for (std::size_t i = 0; i < 12; i += 2) {
        const std::size_t j = i % 6 / 2;
        const double c = rope.cos(s.position(static_cast<std::uint32_t>(t)))[j], z = rope.sin(s.position(static_cast<std::uint32_t>(t)))[j];
        y[t * 12 + i] = in[t * 12 + i] * c - in[t * 12 + i + 1] * z;
        y[t * 12 + i + 1] = in[t * 12 + i] * z + in[t * 12 + i + 1] * c;
      }
    return y;
  }));
}

TEST_CASE("attention: queries, keys and values, with grouped heads and texts that do not see each other") {
  Bench b;
  puna::Config n;
  n.H = 4, n.K = 2, n.E = 4;
  constexpr std::uint32_t T = 9;
  const std::uint32_t begin[T] = {0, 0, 0, 0, 4, 4, 4, 4, 4}, end[T] = {4, 4, 4, 4, 9, 9, 9, 9, 9};
  const Floats q = draw(T * 16, 14), k = draw(T * 8, 15), v = draw(T * 8, 16), g = draw(T * 16, 17);
  Floats o(T * 16), sums(4 * T), dq(T * 16), dk(T * 8), dv(T * 8);
  const puna::AttentionRows rows{b.c, n, q.data(), k.data(), v.data(), {begin, end}, T};
  puna::attention_train(rows, o.data(), sums.data());
  puna::attention_train_back(rows, dq.data(), dk.data(), dv.data(), g.data(), o.data(), sums.data());
  const auto f = [&](const Doubles& Q, const Doubles& K, const Doubles& V) {
    Doubles out(T * 16);
    for (std::size_t t = 0; t < T; ++t)
      for (std::size_t h = 0; h < 4; ++h) {
        Doubles p;
        double sum = 0;
        for (std::size_t s = begin[t]; s <= t; ++s) {
          double dot = 0;
          for (std::size_t e = 0; e < 4; ++e) dot += Q[t * 16 + h * 4 + e] * K[s * 8 + h / 2 * 4 + e];
          p.push_back(std::exp(dot / 2));
          sum += p.back();
        }
        for (std::size_t s = begin[t]; s <= t; ++s)
          for (std::size_t e = 0; e < 4; ++e) out[t * 16 + h * 4 + e] += p[s - begin[t]] / sum * V[s * 8 + h / 2 * 4 + e];
      }
    return out;
  };
  const Doubles Q(q.begin(), q.end()), K(k.begin(), k.end()), V(v.begin(), v.end());
  check(o, f(Q, K, V));
  check(dq, differences(q, g, [&](const Doubles& in) { return f(in, K, V); }));
  check(dk, differences(k, g, [&](const Doubles& in) { return f(Q, in, V); }));
  check(dv, differences(v, g, [&](const Doubles& in) { return f(Q, K, in); }));
}

TEST_CASE("cross-entropy and the embedding") {
  Floats logits = draw(700, 18, 2);
  const Floats kept = logits;
  const double loss = puna::cross_entropy_row(logits.data(), 700, 33, 0.25f);
  const auto f = [](const Doubles& x) {
    double sum = 0;
    for (const double v : x) sum += std::exp(v);
    return Doubles{std::log(sum) - x[33]};
  };
  CHECK(std::fabs(loss - f(Doubles(kept.begin(), kept.end()))[0]) <= 1e-6);
  check(logits, differences(kept, {0.25f}, f));

  Bench b;
  constexpr std::uint32_t T = 4, D = 70, V = 5;
  const std::int32_t ids[T] = {3, 1, 3, 0};
  const Floats g = draw(T * D, 19), e = draw(V * D, 20);
  Floats de(V * D);
  puna::embedding_back(b.c, de.data(), g.data(), ids, T, D);
  check(de, differences(e, g, [&](const Doubles& in) {
    Doubles y;
    for (const std::int32_t id : ids) y.insert(y.end(), in.begin() + id * D, in.begin() + (id + 1) * D);
    return y;
  }));
}
