// Which rows go into which pass: checked, packed, and shuffled by seed and epoch alone, so that a step's number says its data.
#pragma once

#include <cstdint>
#include <vector>

#include "puna/train/example.hpp"
#include "puna/train/options.hpp"

namespace puna {

// A pass over whole texts, laid out for nn/block_train.hpp.
struct MicroBatch {
  std::vector<std::int32_t> ids;
  std::vector<std::uint32_t> begin, end;  // of each row's text
  std::vector<std::uint32_t> wanted;
  std::vector<std::int32_t> targets;
  std::vector<float> weights;               // of the targets' losses
  std::vector<std::uint32_t> first_wanted;  // of each text
  // Of pairs, texts 2 i and 2 i + 1:
  std::vector<double> reference;  // -log p of each text in the model that the run began with
  std::vector<double> pair_losses, margins;
  void clear();
  void add(const Example& example);
};

class Batches {
 public:
  // Error(argument) names the row: empty, longer than options.length, an id outside the vocabulary, nothing to learn.
  Batches(TrainData data, const TrainOptions& options, std::uint32_t vocab, const char* what);

  const Examples& examples() const { return data_.examples; }
  const Examples& rejected() const { return data_.rejected; }
  std::size_t pairs() const { return data_.rejected.size(); }
  std::uint64_t tokens() const { return tokens_; }
  std::uint64_t learnt() const { return learnt_; }  // tokens that carry loss
  std::size_t rows() const { return groups_.size(); }
  std::uint64_t steps_per_epoch() const;
  // Targets of a step, or pairs, and its passes.
  std::uint64_t learnt_in(std::uint64_t step);
  std::uint32_t passes_in(std::uint64_t step) const;
  void fill(std::uint64_t step, std::uint32_t pass, MicroBatch& out);
  // The rows in their own order, `batch` at a time: for measuring.
  std::uint32_t passes() const;
  void fill_plain(std::uint32_t pass, MicroBatch& out) const;

 private:
  void add(std::uint32_t example, MicroBatch& out) const;
  void finish(MicroBatch& out) const;
  std::size_t rows_in(std::uint64_t step) const;
  void shuffle(std::uint64_t epoch);

  TrainData data_;
  std::vector<std::vector<std::uint32_t>> groups_;  // texts that share a row
  std::vector<std::uint32_t> order_;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  std::uint32_t batch_, accumulate_;
  bool shuffle_;
  std::uint64_t seed_;
  std::uint64_t tokens_ = 0, learnt_ = 0;
};

}  // namespace puna
