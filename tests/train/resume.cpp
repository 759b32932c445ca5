// Promise 5 in training: threads, slices and kills leave the same bits.
#include <map>

#include "puna/train/save.hpp"
#include "refusal.hpp"
#include "train_support.hpp"

using namespace puna_test;

namespace {

puna::TrainOptions options() {
  puna::TrainOptions o = fixture_options(puna::TrainMethod::lora);
  o.dropout = 0.1;
  o.shuffle = true;
  o.epochs = 2;
  o.schedule = puna::LearningSchedule::cosine;
  o.warmup = 3;
  o.accumulate = 2;
  o.seed = 17;
  return o;
}

std::vector<float> weights(const puna::Trainer& t) { return {t.trainable().weights(), t.trainable().weights() + t.trainable().size()}; }

std::vector<float> whole_run(puna::TrainOptions o, std::uint32_t threads) {
  puna::Trainer trainer(load_model(fixture("train/base"), make_runtime(threads)), o, read_examples(fixture("train/rows.txt")), {});
  run(trainer);
  return weights(trainer);
}

}  // namespace

TEST_CASE("1, 2 and 3 threads train the same adapter and the same model") {
  for (int kind = 0; kind < 4; ++kind) {
    CAPTURE(kind);
    puna::TrainOptions o = options();
    o.method = kind == 0 ? puna::TrainMethod::full : puna::TrainMethod::lora;
    o.dora = kind == 2;
    o.adam8 = kind == 3;
    const std::vector<float> one = whole_run(o, 1);
    CHECK(whole_run(o, 2) == one);
    CHECK(whole_run(o, 3) == one);
    o.seed = 18;
    CHECK(whole_run(o, 1) != one);
  }
}

TEST_CASE("slices of no time at all train the same adapter") {
  puna::Trainer trainer(load_model(fixture("train/base"), make_runtime(2)), options(), read_examples(fixture("train/rows.txt")), {});
  std::size_t slices = 1;
  while (!trainer.step(puna::Deadline::after(0), nullptr)) ++slices;
  CHECK(slices > 1000);
  CHECK(weights(trainer) == whole_run(options(), 2));
}

TEST_CASE("a run that is dropped anywhere goes on from its checkpoint to the same bits") {
  const TempDir dir;
  const std::string state = (dir / "state").string();
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  const std::vector<float> expected = whole_run(options(), 1);
  for (const int slices : {1, 40, 300, 1111, 2500}) {
    CAPTURE(slices);
    {
      puna::Trainer dropped(model, options(), rows, {});
      for (int i = 0; i < slices; ++i) dropped.step(puna::Deadline::after(0), nullptr);
      dropped.save_state(state);
    }
    puna::Trainer again(model, options(), rows, {});
    again.restore(state);
    run(again);
    CHECK(weights(again) == expected);
    CHECK(again.losses().size() == again.steps());
  }
}

TEST_CASE("a run with 8-bit moments goes on from its checkpoint to the same bits, and keeps fewer of them") {
  const TempDir dir;
  const std::string state = (dir / "state").string();
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::TrainOptions o = options();
  o.method = puna::TrainMethod::full, o.adam8 = true;
  const auto model = load_model(fixture("train/base"));
  puna::Trainer dropped(model, o, rows, {}), again(model, o, rows, {});
  while (dropped.steps_done() < 2) dropped.step(puna::Deadline::after(0), nullptr);
  for (int i = 0; i < 50; ++i) dropped.step(puna::Deadline::after(0), nullptr);
  dropped.save_state(state);
  CHECK(fs::file_size(state) < dropped.trainable().size() * 7);  // a float and two codes of a byte
  again.restore(state);
  run(again);
  CHECK(weights(again) == whole_run(o, 1));
}

TEST_CASE("a run that ends early ends with its best weights, whole or dropped anywhere") {
  const TempDir dir;
  const std::string state = (dir / "state").string();
  const auto model = load_model(fixture("train/base"));
  auto rows = read_examples(fixture("train/rows.txt"));
  const puna::Examples held_out(rows.begin() + 12, rows.begin() + 16), general(rows.begin() + 16, rows.end());
  rows.resize(4);  // learnt by heart soon
  puna::TrainOptions o = options();
  o.epochs = 60;
  o.learning_rate = 2e-2;
  o.evaluate_every = 2;
  o.patience = 3;
  std::map<std::uint64_t, std::vector<float>> at;
  puna::Trainer whole(model, o, rows, held_out, general);
  whole.on_event = [&](const puna::TrainEvent& e) {
    if (e.kind == puna::TrainEvent::Kind::evaluation) at[e.step] = weights(whole);
    return 0;
  };
  run(whole);
  CHECK(whole.stopped_early());
  CHECK(whole.steps_done() == whole.best_step() + 2 * 3);
  CHECK(weights(whole) == at[whole.best_step()]);
  CHECK(weights(whole) != at[whole.steps_done()]);
  CHECK(whole.general_after() != whole.general_before());
  std::size_t slices = 1;
  {
    puna::Trainer counted(model, o, rows, held_out, general);
    while (!counted.step(puna::Deadline::after(0), nullptr)) ++slices;
  }
  for (std::size_t i = 1; i < 8; ++i) {
    CAPTURE(i);
    {
      puna::Trainer dropped(model, o, rows, held_out, general);
      for (std::size_t n = 0; n < slices * i / 8; ++n) dropped.step(puna::Deadline::after(0), nullptr);
      dropped.save_state(state);
    }
    puna::Trainer again(model, o, rows, held_out, general);
    again.restore(state);
    run(again);
    CHECK(weights(again) == weights(whole));
    CHECK(again.best_step() == whole.best_step());
    CHECK(again.held_out_after() == whole.held_out_after());
    CHECK(again.general_after() == whole.general_after());
  }
}

TEST_CASE("a checkpoint of another run, or a damaged one, is refused and changes nothing") {
  const TempDir dir;
  const std::string state = (dir / "state").string();
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::Trainer trainer(model, options(), rows, {});
  for (int i = 0; i < 500; ++i) trainer.step(puna::Deadline::after(0), nullptr);
  trainer.save_state(state);
  puna::TrainOptions other = options();
  other.learning_rate = 1e-3;
  puna::Trainer changed(model, other, rows, {});
  CHECK_THROWS_AS(changed.restore(state), puna::Error);
  const std::vector<std::uint8_t> whole = read_file(state);
  const std::vector<float> before = weights(changed);
  puna::Trainer same(model, options(), rows, {});
  const std::vector<float> fresh = weights(same);
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{50}, whole.size() / 2, whole.size() - 1}) {
    std::vector<std::uint8_t> bad = whole;
    bad[at] ^= 0x40;
    write_file(state, bad.data(), bad.size());
    CHECK_THROWS_AS(same.restore(state), puna::Error);
  }
  for (const std::size_t size : {std::size_t{10}, std::size_t{96}, whole.size() - 1}) {
    write_file(state, whole.data(), size);
    CHECK_THROWS_AS(same.restore(state), puna::Error);
  }
  CHECK(weights(same) == fresh);
  CHECK(weights(changed) == before);
}

TEST_CASE("rows that would train nothing, or do not fit, are refused by number") {
  const auto model = load_model(fixture("train/base"));
  auto rows = read_examples(fixture("train/rows.txt"));
  const auto refused = [&](const puna::Example& e, const char* part) {
    auto with = rows;
    with[3] = e;
    try {
      puna::Trainer trainer(model, options(), with, {});
      FAIL("not refused");
    } catch (const puna::Error& error) {
      CHECK(error.text().find("row 3") != std::string::npos);
      CHECK(error.text().find(part) != std::string::npos);
    }
  };
  refused({{1, 5, 6}, {1, 0, 0}}, "train nothing");
  refused({{1}, {0}}, "nothing to predict");
  refused({{1, 80}, {0, 1}}, "token id 80");
  refused({std::vector<std::int32_t>(41, 5), std::vector<std::uint8_t>(41, 1)}, "41 tokens");
}
