// Which rows are trained on when, and how fast.
#include <algorithm>
#include <numeric>

#include "puna/train/batches.hpp"
#include "train_support.hpp"

using namespace puna_test;

namespace {

// Row i has i + 2 tokens: BOS and i + 1 times i + 3.
puna::Examples numbered(std::size_t count) {
  puna::Examples rows(count);
  for (std::size_t i = 0; i < count; ++i) {
    rows[i].ids.assign(i + 2, static_cast<std::int32_t>(i + 3));
    rows[i].ids[0] = 1;
    rows[i].loss.assign(i + 2, 1);
  }
  return rows;
}

// The rows of an epoch in their order, by their last tokens.
std::vector<std::int32_t> epoch(puna::Batches& batches, std::uint64_t number) {
  std::vector<std::int32_t> order;
  puna::MicroBatch batch;
  for (std::uint64_t step = number * batches.steps_per_epoch(); step < (number + 1) * batches.steps_per_epoch(); ++step)
    for (std::uint32_t pass = 0; pass < batches.passes_in(step); ++pass) {
      batches.fill(step, pass, batch);
      for (std::size_t i = 0; i < batch.ids.size(); ++i)
        if (i + 1 == batch.end[i]) order.push_back(batch.targets[i]);
    }
  return order;
}

}  // namespace

// transformers 5.23.0's get_cosine_schedule_with_warmup and get_linear_…, 3 steps of warm-up of 10; they begin the warm-up at 0, where
// nothing would be learnt, so it is one step ahead here.
TEST_CASE("learning rates are transformers' schedules, the warm-up a step ahead") {
  puna::TrainOptions o;
  o.learning_rate = 2e-3;
  o.warmup = 3;
  const double warm[] = {0.000666666666667, 0.00133333333333, 0.002};
  const double cosine[] = {0.002, 0.0019009688679, 0.00162348980186, 0.00122252093396, 0.000777479066044, 0.000376510198141, 9.90311320976e-05};
  const double linear[] = {0.002, 0.00171428571429, 0.00142857142857, 0.00114285714286, 0.000857142857143, 0.000571428571429, 0.000285714285714};
  const std::tuple<puna::LearningSchedule, const double*> schedules[] = {{puna::LearningSchedule::cosine, cosine}, {puna::LearningSchedule::linear, linear}};
  for (const auto& [schedule, expected] : schedules) {
    o.schedule = schedule;
    for (std::uint64_t s = 0; s < 3; ++s) CHECK(puna::learning_rate(o, s, 10) == doctest::Approx(warm[s]).epsilon(1e-9));
    for (std::uint64_t s = 3; s < 10; ++s) CHECK(puna::learning_rate(o, s, 10) == doctest::Approx(expected[s - 3]).epsilon(1e-9));
  }
  o.schedule = puna::LearningSchedule::constant;
  CHECK(puna::learning_rate(o, 9, 10) == 2e-3);
  o.schedule = puna::LearningSchedule::linear;
  o.final_rate = 0.5;
  CHECK(puna::learning_rate(o, 3, 10) == doctest::Approx(2e-3));
  CHECK(puna::learning_rate(o, 9, 10) == doctest::Approx(1e-3 + 1e-3 / 7));
}

TEST_CASE("an epoch takes every row once, in an order of its own that the seed says") {
  puna::TrainOptions o;
  o.batch = 3;
  o.accumulate = 2;
  o.pack = false;
  o.length = 64;
  o.seed = 5;
  puna::Batches batches(numbered(25), o, 64, "row");
  CHECK(batches.steps_per_epoch() == 5);
  std::vector<std::int32_t> all(25);
  std::iota(all.begin(), all.end(), 3);
  const auto first = epoch(batches, 0), second = epoch(batches, 1);
  CHECK(first != second);
  CHECK(first != all);
  CHECK(std::is_permutation(first.begin(), first.end(), all.begin(), all.end()));
  CHECK(std::is_permutation(second.begin(), second.end(), all.begin(), all.end()));
  CHECK(epoch(batches, 0) == first);  // whatever was asked for in between
  o.seed = 6;
  puna::Batches other(numbered(25), o, 64, "row");
  CHECK(epoch(other, 0) != first);
  o.shuffle = false;
  puna::Batches plain(numbered(25), o, 64, "row");
  CHECK(epoch(plain, 1) == all);
}

TEST_CASE("a step's targets are those of all its passes, the last step's of what is left") {
  puna::TrainOptions o;
  o.batch = 2;
  o.accumulate = 2;
  o.pack = false;
  o.shuffle = false;
  puna::Batches batches(numbered(6), o, 64, "row");  // of 1 to 6 targets
  CHECK(batches.learnt_in(0) == 1 + 2 + 3 + 4);
  CHECK(batches.learnt_in(1) == 5 + 6);
  CHECK(batches.passes_in(0) == 2);
  CHECK(batches.passes_in(1) == 1);
  CHECK(batches.learnt() == 21);
}

TEST_CASE("texts that share a row lie one after the other, each its own segment") {
  puna::TrainOptions o;
  o.length = 9;
  o.shuffle = false;
  puna::Batches batches(numbered(4), o, 64, "row");  // 2, 3, 4 and 5 tokens: three fill the first row
  REQUIRE(batches.rows() == 2);
  puna::MicroBatch batch;
  batches.fill(0, 0, batch);
  CHECK(batch.ids == std::vector<std::int32_t>{1, 1, 4, 1, 5, 5});
  CHECK(batch.begin == std::vector<std::uint32_t>{0, 1, 1, 3, 3, 3});
  CHECK(batch.end == std::vector<std::uint32_t>{1, 3, 3, 6, 6, 6});
  CHECK(batch.targets == std::vector<std::int32_t>{3, 4, 4, 5, 5, 5});
  batches.fill(1, 0, batch);
  CHECK(batch.ids == std::vector<std::int32_t>{1, 6, 6, 6});
}
