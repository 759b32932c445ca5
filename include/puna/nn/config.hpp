// The dimension letters, used in every comment of nn/:
//   T tokens in a pass   V vocabulary   D model width   F feed-forward width   N layers
//   H query heads        K key heads    G = H/K query heads that share a key head   E head width
#pragma once

#include <cstdint>
#include <string>

#include "puna/io/weight_source.hpp"

namespace puna {

struct Config {
  std::uint32_t V = 0, D = 0, F = 0, N = 0, H = 0, K = 0, E = 0;
  std::uint32_t G() const { return H / K; }
  std::uint32_t q_dim() const { return H * E; }
  std::uint32_t kv_dim() const { return K * E; }
  std::uint32_t context = 0;  // longest sequence, scaling included
  float norm_epsilon = 1e-5f;
  double rope_theta = 10000.0;
  Hyperparameters::RopeScaling rope_scaling = Hyperparameters::RopeScaling::none;
  double rope_factor = 1.0;
  std::uint32_t rope_original_context = 0;
  double yarn_beta_fast = 32.0, yarn_beta_slow = 1.0, yarn_attention_factor = 0.0;
};

// Checks what a file claims. Throws Error(format | unsupported) naming `file`, the field and its value.
Config make_config(const Hyperparameters& h, const std::string& file);

// Rows and columns that a part must have.
struct PartShape {
  std::uint32_t rows, columns;
};
PartShape part_shape(const Config& c, Part part);

}  // namespace puna
