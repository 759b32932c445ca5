// How to train. Names and defaults are PEFT's and torchtune's where they have one.
#pragma once

#include <cstdint>

namespace puna {

enum class TrainMethod : std::int32_t { lora = 0, full = 1 };
// automatic: preference where the rows are pairs, else tokens.
enum class TrainObjective : std::int32_t { automatic = 0, tokens = 1, preference = 2 };
enum class LearningSchedule : std::int32_t { constant = 0, linear = 1, cosine = 2 };

// Bits of TrainOptions::targets.
enum TrainTarget : std::uint32_t {
  target_q = 1u << 0,
  target_k = 1u << 1,
  target_v = 1u << 2,
  target_o = 1u << 3,
  target_gate = 1u << 4,
  target_up = 1u << 5,
  target_down = 1u << 6,
  target_head = 1u << 7,
  target_projections = 0x7f,
};

struct TrainOptions {
  TrainMethod method = TrainMethod::lora;
  std::uint32_t rank = 8;
  double alpha = 16;
  double dropout = 0;
  bool rank_stabilized = false;  // s = alpha / sqrt(r)
  bool dora = false;             // a magnitude for each row (nn/dora.hpp)
  std::uint32_t targets = target_projections;
  bool nf4 = false;    // LoRA: on the projections as NF4 with double quantisation, made from the model's when the run is made
  bool fresh = false;  // full: from random weights, not from the model's

  TrainObjective objective = TrainObjective::automatic;
  double beta = 0.1;  // of preference: how closely the reference is kept

  double learning_rate = 0;  // 0: 2e-4 for LoRA, 2e-5 for full, 1e-3 for fresh, 5e-6 for preference
  double final_rate = 0;     // of linear and cosine, as a part of learning_rate
  LearningSchedule schedule = LearningSchedule::cosine;
  std::uint32_t warmup = 0;  // steps
  double weight_decay = 0.01;
  bool adam8 = false;  // moments in 8 bits a value
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double clip = 1.0;  // of the gradient's norm; 0: none

  std::uint32_t epochs = 1;
  std::uint32_t steps = 0;       // 0: as the epochs say
  std::uint32_t batch = 1;       // rows of a pass
  std::uint32_t accumulate = 1;  // passes of a step
  std::uint32_t length = 512;    // tokens of a row
  bool pack = true;              // several texts in a row, blind to each other
  bool shuffle = true;
  std::uint32_t evaluate_every = 0;  // steps; 0: before and after
  std::uint32_t patience = 0;  // measurements without a better held-out loss that end the run, with the best weights; 0: never
  std::uint32_t threads = 0;
  std::uint64_t seed = 0;

  bool preference() const { return objective == TrainObjective::preference; }
  // Tokens that a row of a pass holds: a pair's two texts are one row's.
  std::uint64_t row_length() const { return static_cast<std::uint64_t>(length) * (preference() ? 2 : 1); }
};

// Of step 0, 1, …; at most `steps` of them.
double learning_rate(const TrainOptions& options, std::uint64_t step, std::uint64_t steps);

}  // namespace puna
