// What a run of training needs, told before it begins, and settings that need less.
#pragma once

#include "puna/infer/model.hpp"
#include "puna/train/options.hpp"

namespace puna {

struct TrainForecast {
  std::uint64_t mapped_bytes = 0;     // of the weights, in the file's own memory
  std::uint64_t copied_bytes = 0;     // of the weights; this and what follows is the peak of the runtime's account
  std::uint64_t state_bytes = 0;      // what is trained, its gradients and moments
  std::uint64_t workspace_bytes = 0;
  std::uint64_t save_bytes = 0;       // rows on their way to the file, at the end
  std::uint64_t checkpoint_bytes = 0; // on disk
  std::uint64_t parameters = 0;       // that are trained
  std::uint64_t counted() const { return copied_bytes + state_bytes + workspace_bytes + save_bytes; }
  std::uint64_t memory() const { return mapped_bytes + counted(); }
};
// options: with the threads of the runtime. save_bytes is left to the caller, who knows the form.
TrainForecast forecast_training(const Config& config, const WeightPlan& weights, const TrainOptions& options);

// Settings that train the same targets, or as much of them as can be, within `budget` bytes of memory(): shorter passes with more of them
// a step, then shorter rows, then a smaller rank, then an adapter instead of the whole model. False where none fits.
bool fit_training(const Config& config, const WeightPlan& weights, std::uint64_t save_bytes, std::uint64_t budget, TrainOptions& options);

// Throws Error(memory), with the numbers and settings that would do, where a run of the model does not fit: into the runtime's limit, or
// into the machine. options: settled.
void require_memory(const Model& model, const TrainOptions& options, std::uint64_t save_bytes);

// Seconds of a pass over `tokens` tokens in full rows, and of an update, by training one and two layers of the model's shape for a moment
// on the runtime's threads. Both 0 where that needs more than the memory that is left.
struct TrainPace {
  double pass = 0, update = 0;
};
TrainPace measure_training(const RuntimeRef& runtime, const Config& config, const WeightPlan& weights, const TrainOptions& options);

}  // namespace puna
