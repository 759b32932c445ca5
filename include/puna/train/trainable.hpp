// What is trained: tensors in four slabs (weights, gradients, two moments), and the model's layers pointed at them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "puna/infer/model.hpp"
#include "puna/nn/block_train.hpp"
#include "puna/train/nf4_base.hpp"
#include "puna/train/options.hpp"

namespace puna {

struct Trained {
  enum class Kind : std::int32_t { weight, lora_a, lora_b, magnitude };
  Part part;
  std::uint32_t layer;
  Kind kind;
  std::uint32_t rows, columns;  // a norm has one row, magnitudes one column
  std::size_t offset;           // in each slab
  std::size_t size() const { return static_cast<std::size_t>(rows) * columns; }
  bool decays() const { return rows > 1 || kind != Kind::weight; }  // norms do not
};

// What a run would take for its four slabs.
struct TrainState {
  std::uint64_t bytes = 0, parameters = 0, checkpoint_bytes = 0, slab = 0;
  std::uint64_t norms = 0;  // bytes beside the slabs
};
TrainState train_state(const Config& config, bool tied, const TrainOptions& options);

class Trainable {
 public:
  Trainable(const Model& model, const TrainOptions& options);
  Trainable(const Trainable&) = delete;
  Trainable& operator=(const Trainable&) = delete;

  const TrainParams& params() const { return params_; }
  const TrainParams& base() const { return base_; }  // LoRA: the model without its adapter
  const std::vector<Trained>& tensors() const { return tensors_; }
  std::size_t size() const { return size_; }  // floats of a slab
  std::uint64_t parameters() const;
  float* weights() { return weights_.data(); }
  const float* weights() const { return weights_.data(); }
  float* gradients() { return gradients_.data(); }
  float* first_moments() { return first_.data(); }
  float* second_moments() { return second_.data(); }
  const float* first_moments() const { return first_.data(); }
  const float* second_moments() const { return second_.data(); }
  bool packed_moments() const { return size_ != 0 && first_.size() == 0; }
  // AdamW on floats [first, first + n) of the slabs; first is a multiple of moment_block where moments are packed.
  void update(const struct AdamStep& a, std::size_t first, std::size_t n);
  // What a checkpoint holds.
  std::vector<std::span<std::byte>> state();

 private:
  void add_lora(TrainLinear& l, Part part, std::uint32_t layer, Memory& memory);
  void add_weights(const Model& model);
  void point(const Model& model, const TrainOptions& options);
  void start_lora(std::uint64_t seed);
  void start_anew(std::uint64_t seed, std::uint32_t layers);
  void start_magnitudes(const Model& model);

  std::uint32_t rank_ = 0;
  float scale_ = 0;
  std::vector<Trained> tensors_;
  std::size_t size_ = 0;
  Buffer<float> weights_, gradients_, first_, second_;
  Buffer<std::uint8_t> codes_;  // or these: of the first moments, then of the second
  Buffer<float> tops_;
  std::vector<Lora> loras_;
  std::vector<Buffer<float>> norms_;  // of DoRA's rows
  std::unique_ptr<Nf4Base> nf4_;
  TrainParams params_, base_;
};

}  // namespace puna
