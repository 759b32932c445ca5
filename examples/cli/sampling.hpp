// The sampling options of generate, and the chain they ask for.
#pragma once

#include <cstdint>
#include <optional>
#include <puna.hpp>
#include <string>
#include <vector>

#include "cli.hpp"

namespace cli {

class Sampling {
 public:
  void add_options(CommandLine& line);
  void check() const;  // throws Usage for what add_options could not see
  // False: nothing was asked for, which is greedy.
  bool wanted() const;
  // In the order of the help.
  puna::Sampler make(const puna::Tokenizer& tokenizer) const;

 private:
  bool random() const;  // an option that only makes sense for a draw was given
  void add_dry(puna::Sampler& sampler, const puna::Tokenizer& tokenizer) const;
  void add_bias(puna::Sampler& sampler) const;

  std::uint64_t seed_ = 0;
  std::optional<std::uint32_t> top_k_;
  std::optional<double> temperature_, top_p_, min_p_, typical_, mirostat_, mirostat_eta_;
  std::optional<double> repeat_, frequency_, presence_, dry_, dry_base_;
  std::uint32_t penalty_window_ = 64, dry_allowed_ = 2, dry_window_ = 0xffffffffu;
  std::optional<std::vector<std::int32_t>> dry_breakers_;
  std::vector<std::string> biases_;  // "ID=VALUE"
};

}  // namespace cli
