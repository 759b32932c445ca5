// The negative log-likelihood of a token against torch.nn.functional.cross_entropy (float64), in sampler/nll.txt.
#include "puna/eval/nll.hpp"

#include "puna/base/status.hpp"
#include "sampler_support.hpp"

using namespace puna_test;

TEST_CASE("the negative log-likelihood is torch's") {
  int rows = 0;
  for (const auto& line : fixture_lines("nll.txt")) {
    const auto logits = row_of(line);
    const double value = puna::log_softmax_nll(logits, static_cast<std::int32_t>(whole(line[4])));
    CHECK(std::fabs(value - real(line[5])) <= 1e-12 * std::max(1.0, real(line[5])));
    ++rows;
  }
  CHECK(rows == 15);
}

TEST_CASE("large logits do not overflow, a forbidden token costs infinity, and the target must exist") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(puna::log_softmax_nll(std::vector<float>{3e38f, 3e38f}, 0) == doctest::Approx(std::log(2.0)));
  CHECK(puna::log_softmax_nll(std::vector<float>{-3e38f, -3e38f, -inf}, 1) == doctest::Approx(std::log(2.0)));
  CHECK(puna::log_softmax_nll(std::vector<float>{0, -inf}, 1) == static_cast<double>(inf));
  CHECK(puna::log_softmax_nll(std::vector<float>{5}, 0) == 0);
  for (const std::int32_t target : {-1, 2}) {
    try {
      puna::log_softmax_nll(std::vector<float>{1, 2}, target);
      FAIL("not refused");
    } catch (const puna::Error& e) {
      CHECK(e.code() == puna::Code::argument);
    }
  }
}
