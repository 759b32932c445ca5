// The encoders' searches on every path against the plain loops, bit for bit: ordinary weights, and what makes a search
// degenerate.
#include "cases.hpp"

using namespace puna;
using namespace puna_test;

namespace {

constexpr DType block_types[] = {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,   DType::q8_0,  DType::q2_k,
                                 DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs};
constexpr std::size_t columns = 2304;  // two full parts and one of a single superblock

struct Case {
  const char* name;
  std::vector<float> x;
};

template <class F>
Case made(const char* name, const F& value) {
  Case c{name, std::vector<float>(columns)};
  for (std::size_t i = 0; i < columns; ++i) c.x[i] = value(i);
  return c;
}

std::vector<Case> cases() {
  std::mt19937 rng(31);
  const auto bell = [&] { return (uniform(rng, -1, 1) + uniform(rng, -1, 1) + uniform(rng, -1, 1)) * 0.05f; };
  std::vector<Case> out;
  out.push_back(made("bell", [&](std::size_t) { return bell(); }));
  out.push_back(made("uniform", [&](std::size_t) { return uniform(rng, -1, 1); }));
  out.push_back(made("positive", [&](std::size_t) { return uniform(rng, 0.5f, 1); }));
  out.push_back(made("negative", [&](std::size_t) { return uniform(rng, -1, -0.9f); }));
  out.push_back(made("mostly negative", [&](std::size_t i) { return i % 7 == 0 ? bell() : -std::fabs(bell()) * 3; }));
  out.push_back(made("zeros", [](std::size_t) { return 0.0f; }));
  out.push_back(made("zeros of both signs", [](std::size_t i) { return i % 3 == 0 ? -0.0f : 0.0f; }));
  out.push_back(made("constant", [](std::size_t i) { return i < 1024 ? 0.3f : -0.3f; }));
  out.push_back(made("one of 32", [&](std::size_t i) { return i % 32 == 5 ? bell() : 0.0f; }));
  out.push_back(made("groups of zeros", [&](std::size_t i) { return i / 16 % 3 == 0 ? 0.0f : bell(); }));
  out.push_back(made("one among dust", [&](std::size_t i) {
    return i % 16 == 3 ? uniform(rng, -1, 1) : bell() * std::ldexp(1.0f, -static_cast<int>(i / 16 % 16));
  }));
  out.push_back(made("outliers", [&](std::size_t i) { return bell() * (i % 29 == 0 ? 1e4f : 1.0f); }));
  out.push_back(made("few values", [&](std::size_t) {
    return static_cast<float>(static_cast<int>(rng() % 5) - 2) * 0.25f;
  }));
  out.push_back(made("borders", [&](std::size_t i) {
    return i % 32 == 0 ? -127.0f : static_cast<float>(static_cast<int>(rng() % 510) - 254) * 0.5f;
  }));
  out.push_back(made("denormal", [&](std::size_t) { return uniform(rng, -1, 1) * 1e-39f; }));
  out.push_back(made("near the smallest", [&](std::size_t) { return uniform(rng, -1, 1) * 3e-15f; }));
  out.push_back(made("tiny", [&](std::size_t) { return uniform(rng, -1, 1) * 1e-22f; }));
  out.push_back(made("all sizes", [&](std::size_t) {
    return uniform(rng, -1, 1) * std::ldexp(1.0f, static_cast<int>(rng() % 200) - 140);
  }));
  out.push_back(made("a size a group", [&](std::size_t i) {
    return uniform(rng, -1, 1) * std::ldexp(1.0f, static_cast<int>(i / 16) % 120 - 80);
  }));
  out.push_back(made("large", [&](std::size_t) { return uniform(rng, -1, 1) * 1e9f; }));
  out.push_back(made("huge", [&](std::size_t) { return uniform(rng, -1, 1) * 3e38f; }));
  out.push_back(made("far from zero", [&](std::size_t) { return 1.0f + uniform(rng, -1, 1) * 1e-6f; }));
  out.push_back(made("far below zero", [&](std::size_t) { return -1000.0f + uniform(rng, -1, 1) * 1e-3f; }));
  return out;
}

std::vector<float> importances(int kind) {
  std::mt19937 rng(17);
  std::vector<float> w(columns);
  for (std::size_t i = 0; i < columns; ++i)
    w[i] = kind == 0 ? uniform(rng, 0.1f, 4.0f) : kind == 1 ? (i % 5 == 0 ? uniform(rng, 0, 1) : 0.0f) : 0.0f;
  return w;
}

std::vector<std::byte> encoded(DType type, const float* x, std::size_t n, const float* importance,
                               const EncodeKernels& kernels) {
  std::vector<std::byte> out(row_bytes(type, n) + 16, std::byte{0xa5});
  encode_row(type, x, out.data(), n, importance, kernels);
  for (std::size_t i = out.size() - 16; i < out.size(); ++i) REQUIRE(out[i] == std::byte{0xa5});
  return out;
}

}  // namespace

TEST_CASE("encoders give the plain loops' bytes on every path: every type, with and without importance") {
  const auto all = cases();
  on_every_isa([&](const Kernels& k) {
    for (const Case& c : all)
      for (const DType type : block_types)
        for (int kind = -1; kind < 3; ++kind) {
          CAPTURE(name_of(type));
          CAPTURE(std::string(c.name));
          CAPTURE(kind);
          const auto w = importances(kind);
          const float* importance = kind < 0 ? nullptr : w.data();
          CHECK(encoded(type, c.x.data(), columns, importance, *k.encode) == encoded(type, c.x.data(), columns,
                                                                                     importance, reference_encode));
        }
  });
}

TEST_CASE("encoders give the plain loops' bytes for rows of any number of blocks") {
  constexpr std::size_t longest = 1312;
  const auto x = floats(2 * longest, 5);
  on_every_isa([&](const Kernels& k) {
    for (const DType type : block_types)
      for (std::size_t n = info(type).block; n <= longest; n += info(type).block) {
        CAPTURE(name_of(type));
        CAPTURE(n);
        CHECK(encoded(type, x.data() + n, n, nullptr, *k.encode) == encoded(type, x.data() + n, n, nullptr,
                                                                            reference_encode));
      }
  });
}
