// Norm, gate, rotation, sums, halves and activation quantizing on every path.
#include <limits>

#include "cases.hpp"

using namespace puna;
using namespace puna_test;

namespace {
constexpr float inf = std::numeric_limits<float>::infinity();
const Kernels& plain() { return *kernels_for(Isa::reference); }
}  // namespace

TEST_CASE("rms_norm agrees with double precision at any length") {
  on_every_isa([](const Kernels& k) {
    for (const std::size_t n : {1, 2, 7, 8, 15, 16, 17, 64, 100, 288, 4096, 5003}) {
      CAPTURE(n);
      const auto x = floats(n, 1, 3.0f), w = floats(n, 2);
      std::vector<float> y(n + 1, -7.0f), in_place = x;
      k.rms_norm(y.data(), x.data(), w.data(), n, 1e-5f);
      double sum = 0;
      for (const float v : x) sum += static_cast<double>(v) * v;
      const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(1e-5f));
      for (std::size_t i = 0; i < n; ++i) CHECK(std::fabs(y[i] - x[i] * scale * w[i]) <= 1e-6 * std::fabs(x[i] * scale * w[i]) + 1e-12);
      CHECK(y[n] == -7.0f);
      k.rms_norm(in_place.data(), in_place.data(), w.data(), n, 1e-5f);
      CHECK(std::memcmp(in_place.data(), y.data(), n * sizeof(float)) == 0);
    }
  });
}

TEST_CASE("swiglu agrees with double precision, element for element wherever it stands") {
  on_every_isa([](const Kernels& k) {
    auto gate = floats(1003, 3, 30.0f);
    const auto up = floats(1003, 4, 2.0f);
    for (std::size_t i = 0; i < 200; ++i) gate[i] = -100.0f + static_cast<float>(i);
    std::vector<float> y(gate.size());
    k.swiglu(y.data(), gate.data(), up.data(), gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double z = gate[i], e = z / (1 + std::exp(-z)) * up[i];
      CHECK(std::fabs(y[i] - e) <= 1e-6 * std::fabs(e) + 1e-36);
      float one;
      k.swiglu(&one, &gate[i], &up[i], 1);
      CHECK(std::memcmp(&one, &y[i], sizeof one) == 0);
    }
  });
}

TEST_CASE("swiglu at the ends of the floats") {
  on_every_isa([](const Kernels& k) {
    const float gates[] = {inf, -inf, 3e38f, -3e38f, -88.0f, 89.0f, 0.0f, -0.0f, 1e-40f};
    const std::vector<float> ones(std::size(gates), 1.0f);
    std::vector<float> y(std::size(gates));
    k.swiglu(y.data(), gates, ones.data(), y.size());
    CHECK(y[0] == inf);
    CHECK(y[1] == 0.0f);
    CHECK(y[2] == 3e38f);
    CHECK(y[3] == 0.0f);
    CHECK(std::fabs(y[4]) < 1e-35f);
    CHECK(y[5] == 89.0f);
    CHECK(y[6] == 0.0f);
    CHECK(y[7] == 0.0f);
    CHECK(y[8] >= 0.0f);
    const float nan = std::nanf("");
    k.swiglu(y.data(), &nan, ones.data(), 1);
    CHECK(std::isnan(y[0]));
  });
}

TEST_CASE("rope, add and to_half give the plain loops' bits") {
  on_every_isa([](const Kernels& k) {
    for (const std::uint32_t dim : {2, 6, 8, 48, 64, 100, 128}) {
      const std::uint32_t heads = 3;
      auto x = floats(std::size_t{heads} * dim, 5), twin = x;
      std::vector<float> cos(dim / 2), sin(dim / 2);
      for (std::uint32_t i = 0; i < dim / 2; ++i) cos[i] = std::cos(static_cast<float>(i)), sin[i] = std::sin(static_cast<float>(i));
      k.rope(x.data(), cos.data(), sin.data(), heads, dim);
      plain().rope(twin.data(), cos.data(), sin.data(), heads, dim);
      CHECK(x == twin);
    }
    for (const std::size_t n : {1, 7, 16, 33, 100}) {
      auto y = floats(n, 6), twin = y;
      const auto x = floats(n, 7);
      k.add(y.data(), x.data(), n);
      plain().add(twin.data(), x.data(), n);
      CHECK(y == twin);
    }
    std::vector<float> every(1 << 18);  // signs, exponents, and the bits where halves round
    for (std::uint32_t i = 0; i < every.size(); ++i) every[i] = std::bit_cast<float>((i << 14) | (i % 3 == 0 ? 0x1000u : i % 5 == 0 ? 0xfffu : 0x1001u));
    every.resize(every.size() - 3);  // not a whole number of vectors
    std::vector<Half> mine(every.size()), twin(every.size());
    k.to_half(mine.data(), every.data(), every.size());
    plain().to_half(twin.data(), every.data(), every.size());
    CHECK(std::memcmp(mine.data(), twin.data(), mine.size() * sizeof(Half)) == 0);
  });
}

TEST_CASE("quantize gives the plain loops' bits and keeps its promise") {
  on_every_isa([](const Kernels& k) {
    const std::size_t n = 32 * 400;
    auto x = floats(n, 8, 5.0f);
    std::mt19937 rng(9);
    for (std::size_t b = 100; b < 300; ++b)  // blocks of every size, subnormal ones too
      for (std::size_t i = 0; i < 32; ++i) x[32 * b + i] *= std::exp2f(static_cast<float>(static_cast<int>(b) - 250));
    for (std::size_t i = 0; i < 32; ++i) x[32 * 301 + i] = static_cast<float>(static_cast<int>(rng() % 255) - 127) + 0.5f;  // ties
    for (std::size_t i = 0; i < 32; ++i) x[32 * 302 + i] = i % 2 ? -0.0f : 0.0f;
    std::vector<ActBlock> mine(n / 32), twin(n / 32);
    k.quantize(x.data(), n, mine.data());
    plain().quantize(x.data(), n, twin.data());
    CHECK(std::memcmp(mine.data(), twin.data(), mine.size() * sizeof(ActBlock)) == 0);
    for (std::size_t b = 0; b < n / 32; ++b) {
      float most = 0;
      int low = 0, high = 0;
      for (std::size_t i = 0; i < 32; ++i) {
        most = std::max(most, std::fabs(x[32 * b + i]));
        (i < 16 ? low : high) += mine[b].q[i];
        CHECK(mine[b].q[i] != -128);
        if (most > 1e-30f) CHECK(std::fabs(x[32 * b + i] - mine[b].d * static_cast<float>(mine[b].q[i])) <= mine[b].d * 0.50001f);
      }
      CHECK(mine[b].d == most / 127.0f);
      CHECK(mine[b].qsum_lo == low);
      CHECK(mine[b].qsum_hi == high);
      CHECK(mine[b].sum_lo == mine[b].d * static_cast<float>(low));
    }
  });
}

TEST_CASE("quantize shows an infinity or a NaN, in that block alone") {
  on_every_isa([](const Kernels& k) {
    for (const float bad : {inf, -inf, std::nanf("")})
      for (const std::size_t at : {0, 5, 31}) {
        auto x = floats(96, 10);
        x[32 + at] = bad;
        std::vector<ActBlock> out(3);
        k.quantize(x.data(), x.size(), out.data());
        CHECK(std::isnan(out[1].d));
        CHECK(std::isnan(out[1].sum_lo));
        CHECK(std::isnan(out[1].sum_hi));
        for (const auto q : out[1].q) CHECK(q == 0);
        CHECK(std::isfinite(out[0].d));
        CHECK(std::isfinite(out[2].d));
      }
  });
}
