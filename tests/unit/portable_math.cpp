// exp and log that every platform computes alike: how far from the truth, and that the bits are these.
#include "puna/base/portable_math.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "puna/base/rng.hpp"
#include "sampler_support.hpp"

using namespace puna_test;
namespace portable = puna::portable;

namespace {

double ulps(double value, double truth) {
  if (value == truth) return 0;
  const double step = std::nextafter(std::fabs(truth), std::numeric_limits<double>::infinity()) - std::fabs(truth);
  return std::fabs(value - truth) / step;
}

}  // namespace

TEST_CASE("exp and log are within one ulp of mpmath's") {
  double worst_exp = 0, worst_log = 0;
  int rows = 0;
  for (const auto& line : fixture_lines("math.txt")) {
    if (line[0] == "chi2") continue;
    ++rows;
    const bool is_exp = line[0] == "exp";
    const double x = real(line[1]), truth = real(line[2]);
    const double off = ulps(is_exp ? portable::exp(x) : portable::log(x), truth);
    CHECK_MESSAGE(off <= 1, line[0] << "(" << line[1] << ") is off by " << off << " ulp");
    double& worst = is_exp ? worst_exp : worst_log;
    worst = std::max(worst, off);
  }
  CHECK(rows == 225);
  MESSAGE("worst: exp " << worst_exp << " ulp, log " << worst_log << " ulp");
}

TEST_CASE("exp and log at the edges") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(portable::exp(0) == 1);
  CHECK(portable::exp(-inf) == 0);
  CHECK(portable::exp(inf) == inf);
  CHECK(portable::exp(709.782712893384) < inf);
  CHECK(portable::exp(709.7827128933841) == inf);
  CHECK(portable::exp(-745.13321910194110) == std::numeric_limits<double>::denorm_min());
  CHECK(portable::exp(-745.2) == 0);
  CHECK(portable::exp(-1e300) == 0);
  CHECK(std::isnan(portable::exp(std::nan(""))));
  CHECK(portable::log(1) == 0);
  CHECK(portable::log(0.0) == -inf);
  CHECK(portable::log(-0.0) == -inf);
  CHECK(portable::log(inf) == inf);
  CHECK(std::isnan(portable::log(-1)));
  CHECK(std::isnan(portable::log(std::nan(""))));
}

TEST_CASE("exp_below is exp, whatever the length") {
  const auto x = row(200, 9, 1600);
  std::vector<double> out(x.size() + 1, -1);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, x.size()}) {
    portable::exp_below(x.data(), n, 800, out.data());
    for (std::size_t i = 0; i < n; ++i) REQUIRE(out[i] == portable::exp(static_cast<double>(x[i]) - 800));
  }
  const float lowest[2] = {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::lowest()};
  portable::exp_below(lowest, 2, 1e38, out.data());
  CHECK(out[0] == 0);
  CHECK(out[1] == 0);
}

// Not a value from elsewhere: the bits themselves, so that another compiler or CPU that differs in one is seen.
TEST_CASE("the bits of exp and log on this platform are those on every other") {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](double value) { hash = (hash ^ std::bit_cast<std::uint64_t>(value)) * 0x100000001b3u; };
  puna::Rng rng(7);
  for (int i = 0; i < 100000; ++i) {
    add(portable::exp(rng.uniform() * 1460 - 750));
    add(portable::exp(-rng.uniform() * 20));
    add(portable::log(portable::exp(rng.uniform() * 1400 - 700)));
    add(portable::log(rng.uniform() * 2));
  }
  CHECK(hash == 0xc69cfe15b79c1939u);
}

TEST_CASE("the chi-square tail that the sampler's tests use") {
  for (const auto& line : fixture_lines("math.txt"))
    if (line[0] == "chi2") CHECK(chi_square_tail(real(line[1]), real(line[2])) == doctest::Approx(real(line[3])).epsilon(1e-10));
}
