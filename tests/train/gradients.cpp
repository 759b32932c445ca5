// Gradients and loss curves against PyTorch, transformers and PEFT (fixtures/scripts/make_train.py).
#include "../../lib/train/adam8.hpp"
#include "puna/tensor/nf4.hpp"
#include "puna/train/save.hpp"
#include "train_support.hpp"

using namespace puna_test;
using puna::TrainMethod;

namespace {

puna::TrainOptions dora_options() {
  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  o.dora = true;
  return o;
}

// The gradients of rows 0 and 1: with beta1 = 0 and no clipping they are the first moments after one step.
void check_gradients(const puna::TrainOptions& options, const char* expected) {
  const auto model = load_model(fixture("train/base"));
  puna::TrainOptions o = options;
  o.beta1 = 0;
  o.clip = 0;
  o.steps = 1;
  puna::Examples rows = read_examples(fixture("train/rows.txt"));
  rows.resize(2);
  puna::Trainer trainer(model, o, rows, {});
  set_start(trainer);
  run(trainer);
  const std::vector<float> theirs = read_floats(fixture(expected));
  std::size_t at = 0;
  for (const puna::Trained& t : trainer.trainable().tensors()) {
    double difference = 0, length = 0;
    for (std::size_t i = 0; i < t.size(); ++i, ++at) {
      const double a = trainer.trainable().first_moments()[t.offset + i], b = theirs[at];
      difference += (a - b) * (a - b), length += b * b;
    }
    CAPTURE(puna::part_name(t.part));
    CAPTURE(t.layer);
    CAPTURE(static_cast<int>(t.kind));
    REQUIRE(length > 0);
    CHECK(std::sqrt(difference) <= 1e-4 * std::sqrt(length));
  }
  CHECK(at == theirs.size());
}

std::vector<double> curve(const std::string& name) {
  std::istringstream in(read_text(fixture("train/curves.txt")));
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    std::vector<double> values;
    for (double v; words >> v;) values.push_back(v);
    if (key == name) return values;
  }
  return {};
}

void check_curve(const puna::TrainOptions& o, const char* name) {
  puna::Trainer trainer(load_model(fixture("train/base")), o, read_examples(fixture("train/rows.txt")), {});
  set_start(trainer);
  run(trainer);
  const std::vector<double> theirs = curve(name);
  REQUIRE(theirs.size() == 10);
  REQUIRE(trainer.losses().size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CAPTURE(i);
    CHECK(std::fabs(trainer.losses()[i] - theirs[i]) <= 1e-4);
  }
}

// A model whose projections have the values that NF4 keeps of them.
class Nf4Source final : public puna::ChangedSource {
 public:
  explicit Nf4Source(const fs::path& path) : ChangedSource(puna::open_weights(path.string())) {
    for (std::uint32_t layer = 0; layer < hyperparameters().layers; ++layer)
      for (const puna::Part part : {puna::Part::wq, puna::Part::wk, puna::Part::wv, puna::Part::wo, puna::Part::gate, puna::Part::up, puna::Part::down})
        change(part, layer);
  }

 private:
  void rows(puna::Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, float* out) const override {
    const puna::WeightInfo& w = *base_->find(part, layer);
    REQUIRE(w.type == puna::DType::f32);
    std::vector<float> x(w.rows * w.columns);
    base_->copy(part, layer, 0, w.rows, reinterpret_cast<std::byte*>(x.data()));
    std::vector<std::uint8_t> codes(puna::nf4_code_bytes(x.size())), bytes(puna::nf4_blocks(x.size()));
    std::vector<float> absmax(bytes.size()), scales(puna::nf4_groups(x.size()));
    puna::nf4_encode(x.data(), x.size(), codes.data(), absmax.data());
    const float offset = puna::nf4_offset(absmax.data(), absmax.size());
    puna::nf4_compress(absmax.data(), absmax.size(), offset, bytes.data(), scales.data());
    puna::nf4_decode({codes.data(), bytes.data(), scales.data(), offset}, row * w.columns, count * w.columns, out);
  }
};

}  // namespace

TEST_CASE("on an NF4 base an adapter is trained as on the floats that NF4 keeps, bit for bit") {
  const auto rows = read_examples(fixture("train/rows.txt"));
  const puna::TrainOptions plain = fixture_options(TrainMethod::lora);
  puna::TrainOptions nf4 = plain;
  nf4.nf4 = true;
  const auto trained = [&](std::shared_ptr<const puna::Model> model, const puna::TrainOptions& o) {
    puna::Trainer trainer(std::move(model), o, rows, {});
    run(trainer);
    return std::vector<float>(trainer.trainable().weights(), trainer.trainable().weights() + trainer.trainable().size());
  };
  puna::ModelLoader loader(make_runtime(), nullptr, [] { return std::make_unique<Nf4Source>(fixture("train/base")); }, {});
  while (!loader.step({}, nullptr)) {
  }
  const auto expected = trained(loader.take(), plain);
  CHECK(trained(load_model(fixture("train/base")), nf4) == expected);
  CHECK(trained(load_model(fixture("train/base")), plain) != expected);
}

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: full") {
  check_gradients(fixture_options(TrainMethod::full), "train/full.grads.f32");
}

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: LoRA") {
  check_gradients(fixture_options(TrainMethod::lora), "train/lora.grads.f32");
}

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: DoRA") {
  check_gradients(dora_options(), "train/dora.grads.f32");
}

TEST_CASE("8-bit moments: bitsandbytes' maps and codes; ten steps with them are as its own") {
  const std::vector<float> map = read_floats(fixture("train/adam8.map.f32")), values = read_floats(fixture("train/adam8.values.f32"));
  const std::vector<std::uint8_t> theirs = read_file(fixture("train/adam8.codes.u8"));
  REQUIRE(theirs.size() == 2 * values.size());
  for (const bool with_sign : {true, false}) {
    CHECK(std::equal(puna::moment_map(with_sign), puna::moment_map(with_sign) + 256, map.begin() + (with_sign ? 0 : 256)));
    std::vector<float> x = values;
    if (!with_sign)
      for (float& v : x) v = std::fabs(v);
    std::vector<std::uint8_t> codes(x.size());
    for (std::size_t i = 0; i < x.size(); i += puna::moment_block) {
      const std::size_t n = std::min(puna::moment_block, x.size() - i);
      const float top = puna::encode_moments(with_sign, x.data() + i, n, codes.data() + i);
      std::vector<float> back(n);
      puna::decode_moments(with_sign, codes.data() + i, top, n, back.data());
      for (std::size_t j = 0; j < n; ++j) CHECK(std::fabs(back[j] - x[i + j]) <= 0.45f * std::fabs(x[i + j]) + 1.5e-6f * top);
    }
    CHECK(std::equal(codes.begin(), codes.end(), theirs.begin() + (with_sign ? 0 : static_cast<std::ptrdiff_t>(x.size()))));
  }
  const float none[3] = {};
  std::uint8_t codes[3];
  CHECK(puna::encode_moments(true, none, 3, codes) == 0);
  float back[3] = {1, 1, 1};
  puna::decode_moments(true, codes, 1, 3, back);
  CHECK(back[2] == 0);

  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  o.adam8 = true;
  puna::Trainer trainer(load_model(fixture("train/base")), o, read_examples(fixture("train/rows.txt")), {});
  set_start(trainer);
  run(trainer);
  double from_floats = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(std::fabs(trainer.losses()[i] - curve("lora_adam8")[i]) <= 2e-5);
    from_floats = std::max(from_floats, std::fabs(trainer.losses()[i] - curve("lora")[i]));
  }
  CHECK(from_floats > 8e-5);
}

TEST_CASE("the same gradients when rows come in passes of one, or share a row") {
  puna::TrainOptions apart = fixture_options(TrainMethod::full);
  apart.batch = 1;
  apart.accumulate = 2;
  check_gradients(apart, "train/full.grads.f32");
  puna::TrainOptions packed = fixture_options(TrainMethod::lora);
  packed.batch = 1;
  packed.pack = true;
  packed.length = 64;
  check_gradients(packed, "train/lora.grads.f32");
}

TEST_CASE("ten AdamW steps give PyTorch's and TRL's losses, margins and accuracies: DPO") {
  const puna::Examples all = read_examples(fixture("train/pairs.txt"));
  puna::TrainData pairs;
  for (std::size_t i = 0; i < all.size(); ++i) (i % 2 ? pairs.rejected : pairs.examples).push_back(all[i]);
  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  std::string name = "dpo";
  std::size_t steps = 10;
  SUBCASE("pairs beside each other") {}
  SUBCASE("passes of one pair") { o.batch = 1, o.accumulate = 2; }
  SUBCASE("TRL") {
    o.targets = puna::target_projections;
    name = "dpo_trl";
  }
  SUBCASE("two pairs in a row") {
    o.batch = 1, o.pack = true, o.length = 60;
    pairs.examples.resize(2), pairs.rejected.resize(2);
    steps = 1;
  }
  puna::Trainer trainer(load_model(fixture("train/base")), o, pairs, pairs);
  CHECK(trainer.options().preference());
  set_start(trainer);
  std::vector<double> margins, accuracy;
  trainer.on_event = [&](const puna::TrainEvent& e) {
    if (e.kind == puna::TrainEvent::Kind::step) margins.push_back(e.margin), accuracy.push_back(e.accuracy);
    return 0;
  };
  run(trainer);
  REQUIRE(trainer.losses().size() == steps);
  for (std::size_t i = 0; i < steps; ++i) {
    CAPTURE(i);
    CHECK(std::fabs(trainer.losses()[i] - curve(name)[i]) <= 1e-4);
    CHECK(std::fabs(margins[i] - curve(name + ".margins")[i]) <= 1e-4);
    CHECK(accuracy[i] == curve(name + ".accuracy")[i]);
  }
  CHECK(trainer.held_out_after() < trainer.held_out_before());
}

TEST_CASE("preferences: a run that was stopped goes on to the same bits; a whole model has no reference") {
  const puna::Examples all = read_examples(fixture("train/pairs.txt"));
  puna::TrainData pairs;
  for (std::size_t i = 0; i < all.size(); ++i) (i % 2 ? pairs.rejected : pairs.examples).push_back(all[i]);
  const TempDir dir;
  const std::string state = (dir / "state").string();
  const auto model = load_model(fixture("train/base"), make_runtime(2));
  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  o.epochs = 2, o.shuffle = true, o.dropout = 0.1, o.pack = true, o.dora = true;
  const auto weights = [](const puna::Trainer& t) { return std::vector<float>(t.trainable().weights(), t.trainable().weights() + t.trainable().size()); };
  puna::Trainer whole(model, o, pairs, {});
  run(whole);
  puna::Trainer dropped(model, o, pairs, {});
  while (dropped.steps_done() * 3 < 2 * dropped.steps()) dropped.step(puna::Deadline::after(0), nullptr);
  dropped.save_state(state);
  puna::Trainer again(load_model(fixture("train/base"), make_runtime(1)), o, pairs, {});
  again.restore(state);
  run(again);
  CHECK(weights(again) == weights(whole));
  o.beta = 0.2;
  puna::Trainer other(model, o, pairs, {});
  CHECK_THROWS_AS(other.restore(state), puna::Error);

  const auto refused = [&](const puna::TrainOptions& options, const puna::TrainData& data, const char* part) {
    try {
      puna::Trainer trainer(model, options, data, {});
      FAIL("not refused");
    } catch (const puna::Error& error) {
      CHECK(error.text().find(part) != std::string::npos);
    }
  };
  refused(fixture_options(TrainMethod::full), pairs, "its own reference");
  o.objective = puna::TrainObjective::preference;
  refused(o, pairs.examples, "pairs of a chosen and a rejected answer");
  puna::TrainData bad = pairs;
  std::fill(bad.rejected[3].loss.begin(), bad.rejected[3].loss.end(), std::uint8_t{0});
  refused(o, bad, "rejected answer of row 3");
  // Asked for, the chosen answers alone.
  o.objective = puna::TrainObjective::tokens;
  puna::Trainer chosen(model, o, pairs, {}), plain(model, o, pairs.examples, {});
  run(chosen), run(plain);
  CHECK(weights(chosen) == weights(plain));
}

TEST_CASE("ten AdamW steps give PyTorch's losses: full") { check_curve(fixture_options(TrainMethod::full), "full"); }
TEST_CASE("ten AdamW steps give PEFT's losses: LoRA") { check_curve(fixture_options(TrainMethod::lora), "lora"); }
TEST_CASE("ten AdamW steps give PEFT's losses: DoRA") { check_curve(dora_options(), "dora"); }
TEST_CASE("ten AdamW steps give PEFT's losses: rsLoRA") {
  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  o.rank_stabilized = true;
  check_curve(o, "rslora");
}
