// Gradients and loss curves against PyTorch, transformers and PEFT (fixtures/scripts/make_train.py).
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

std::vector<double> curve(const char* name) {
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

}  // namespace

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: full") {
  check_gradients(fixture_options(TrainMethod::full), "train/full.grads.f32");
}

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: LoRA") {
  check_gradients(fixture_options(TrainMethod::lora), "train/lora.grads.f32");
}

TEST_CASE("every gradient of a small model with grouped queries is PyTorch's: DoRA") {
  check_gradients(dora_options(), "train/dora.grads.f32");
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

TEST_CASE("ten AdamW steps give PyTorch's losses: full") { check_curve(fixture_options(TrainMethod::full), "full"); }
TEST_CASE("ten AdamW steps give PEFT's losses: LoRA") { check_curve(fixture_options(TrainMethod::lora), "lora"); }
TEST_CASE("ten AdamW steps give PEFT's losses: DoRA") { check_curve(dora_options(), "dora"); }
TEST_CASE("ten AdamW steps give PEFT's losses: rsLoRA") {
  puna::TrainOptions o = fixture_options(TrainMethod::lora);
  o.rank_stabilized = true;
  check_curve(o, "rslora");
}
