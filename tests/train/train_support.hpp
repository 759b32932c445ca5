// Rows and runs of training, for the tests of train/.
#pragma once

#include <sstream>

#include "model_support.hpp"
#include "puna/train/trainer.hpp"

namespace puna_test {

inline puna::Examples read_examples(const fs::path& path) {
  std::istringstream in(read_text(path));
  puna::Examples rows;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    puna::Example e;
    int id, loss;
    for (char colon; words >> id >> colon >> loss;) e.ids.push_back(id), e.loss.push_back(static_cast<std::uint8_t>(loss));
    rows.push_back(std::move(e));
  }
  return rows;
}

// As make_train.py trains.
inline puna::TrainOptions fixture_options(puna::TrainMethod method) {
  puna::TrainOptions o;
  o.method = method;
  o.rank = 4;
  o.alpha = 8;
  o.targets = puna::target_projections | puna::target_head;
  o.learning_rate = 2e-3;
  o.schedule = puna::LearningSchedule::constant;
  o.batch = 2;
  o.length = 40;
  o.pack = false;
  o.shuffle = false;
  return o;
}

// Floats of a file into a trainer's tensors, in their order.
inline void set_weights(puna::Trainer& trainer, const std::vector<float>& values) {
  std::size_t at = 0;
  for (const puna::Trained& t : trainer.trainable().tensors()) {
    REQUIRE(at + t.size() <= values.size());
    std::copy(values.begin() + static_cast<std::ptrdiff_t>(at), values.begin() + static_cast<std::ptrdiff_t>(at + t.size()),
              trainer.trainable().weights() + t.offset);
    at += t.size();
  }
  REQUIRE(at == values.size());
}

// Where PyTorch's adapters begin.
inline void set_start(puna::Trainer& trainer) {
  if (trainer.options().method == puna::TrainMethod::full) return;
  std::vector<float> values = read_floats(fixture(trainer.options().dora ? "train/dora.init.f32" : "train/lora.init.f32"));
  values.resize(trainer.trainable().parameters());  // the head's are the last
  set_weights(trainer, values);
}

inline void run(puna::Trainer& trainer) {
  while (!trainer.step({}, nullptr)) {
  }
}

}  // namespace puna_test
