// A run of training as resumable work: measure, step after step, measure again.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "puna/train/batches.hpp"
#include "puna/train/trainable.hpp"

namespace puna {

// What a step, or a measurement, came to.
struct TrainEvent {
  enum class Kind : std::int32_t { step = 0, evaluation = 1, general = 2 };
  Kind kind = Kind::step;
  std::uint64_t step = 0, steps = 0;  // steps taken, and of the run
  double epoch = 0;
  double loss = 0;  // mean over the targets, in nats, before the step
  double rate = 0, gradient_norm = 0;
  std::uint64_t tokens = 0;  // of the step, all of them
  double tokens_per_second = 0, seconds_left = 0;
  // Of preferences, else NaN: how often the chosen answer gained more, and beta times by how much, on average.
  double accuracy = std::numeric_limits<double>::quiet_NaN(), margin = accuracy;
  std::uint64_t memory = 0;  // of the runtime, now
};

// The options with their defaults, for a runtime of `width` threads. Error(argument) names the option.
TrainOptions settled(TrainOptions options, const Config& config, std::uint32_t width);

class Trainer {
 public:
  // Takes all memory. Error(argument) names the option or the row. general: rows of another kind, measured at the start and the end:
  // what is forgotten.
  Trainer(std::shared_ptr<const Model> model, const TrainOptions& options, TrainData rows, TrainData held_out, Examples general = {});

  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& model_ref() const { return model_; }
  const TrainOptions& options() const { return options_; }
  const Trainable& trainable() const { return trainable_; }
  Trainable& trainable() { return trainable_; }
  const Batches& rows() const { return rows_; }

  // True when the run is over. A tripped token ends the call with Error(cancelled); the run can go on, or be saved as of the
  // last whole step.
  bool step(const Deadline& deadline, const CancelToken* cancel);
  // Called after every step and measurement; non-zero: Error(callback), the event has happened.
  std::function<std::int32_t(const TrainEvent&)> on_event;

  std::uint64_t steps() const { return steps_; }
  std::uint64_t steps_done() const { return step_; }
  bool finished() const { return phase_ == Phase::finished; }
  // Work done and in all, for a progress bar: tokens, roughly.
  std::uint64_t done() const { return done_; }
  std::uint64_t total() const { return total_; }
  // Mean loss of each step so far; of the held-out rows before and after, NaN until then or without any.
  const std::vector<double>& losses() const { return losses_; }
  // Spent in steps, and of that in updates.
  double seconds() const { return seconds_; }
  double update_seconds() const { return update_seconds_; }
  double held_out_before() const { return before_; }
  double held_out_after() const { return after_; }
  double general_before() const { return general_before_; }
  double general_after() const { return general_after_; }
  // With patience: the step whose weights the run ends with, and whether it ended before its time.
  std::uint64_t best_step() const { return options_.patience ? best_step_ : step_; }
  bool stopped_early() const { return phase_ == Phase::finished && step_ < steps_; }

  // Checkpoints: the state after the last whole step, whole under its name or not there.
  void save_state(const std::string& path);
  // Error(argument) for a checkpoint of another run: the digest is of everything that must be the same to go on.
  void restore(const std::string& path);
  // Written there by step() itself, every so many steps.
  void keep_state(std::string path, std::uint32_t every) { state_path_ = std::move(path), state_every_ = every; }

 private:
  enum class Phase : std::int32_t { before, train, between, after, finished, general_before, general_after };

  bool run_pass(const Deadline& deadline, const CancelToken* cancel, bool learn);
  void count_pass();
  bool measure(const Deadline& deadline, const CancelToken* cancel, const Batches& rows, double& loss);
  bool measure_phase(const Deadline& deadline, const CancelToken* cancel);
  void end_measure(double loss);
  bool judge(double loss);
  void take_best();
  // General rows are texts, whatever is trained on.
  bool pairs() const { return options_.preference() && phase_ != Phase::general_before && phase_ != Phase::general_after; }
  bool train_some(const Deadline& deadline, const CancelToken* cancel);
  bool update(const Deadline& deadline, const CancelToken* cancel);
  void end_step(bool told = true);
  void tell(TrainEvent event);
  void take_preferences(TrainEvent& event, std::uint64_t count);
  void make_digest();
  double norm() const;

  std::shared_ptr<const Model> model_;
  TrainOptions options_;
  Batches rows_, held_out_, general_;
  Trainable trainable_;
  RopeTable rope_;
  Buffer<std::byte> slab_;
  TrainRows r_{};
  std::byte* scratch_ = nullptr;
  std::size_t scratch_stride_ = 0;
  Pass pass_;

  Phase phase_ = Phase::before;
  std::uint64_t step_ = 0, steps_ = 0;
  std::uint32_t micro_ = 0;
  bool in_pass_ = false, updating_ = false;
  MicroBatch batch_;
  std::vector<std::uint32_t> chunk_tensor_;  // of the update: which tensor, and where in it
  std::vector<std::size_t> chunk_first_;
  std::vector<double> chunk_squares_;
  std::uint64_t learnt_ = 0, step_tokens_ = 0;
  double sum_ = 0;  // of the step's or the measurement's losses
  double margins_ = 0, right_ = 0;
  std::uint64_t measured_ = 0;
  std::vector<double> losses_;
  double before_, after_, general_before_, general_after_;
  Buffer<float> best_;  // with patience: the weights of the best measurement
  double best_loss_ = 0;
  std::uint64_t best_step_ = 0;
  std::uint32_t worse_ = 0;  // measurements since
  std::uint64_t done_ = 0, total_ = 0;
  double update_seconds_ = 0;
  double seconds_ = 0;        // spent in steps of this run
  std::uint64_t trained_ = 0;  // tokens in them
  std::array<std::uint8_t, 32> digest_{};
  std::string state_path_;
  std::uint32_t state_every_ = 0;
};

}  // namespace puna
