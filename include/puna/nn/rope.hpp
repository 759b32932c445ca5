// Rotary position embedding (Su et al., 2021) on adjacent pairs, Meta's order: angle m * f_j, f_j = theta^(-2j/E).
// Scaling (Hugging Face modeling_rope_utils): linear, dynamic NTK (its base fixed for a session's length), YaRN.
#pragma once

#include "puna/base/memory.hpp"
#include "puna/nn/config.hpp"

namespace puna {

// Backward: the same rotation by the opposite angle (it is orthogonal); nothing is saved.

class RopeTable {
 public:
  RopeTable() = default;
  // For positions 0 .. length-1.
  RopeTable(Memory& memory, const Config& c, std::uint32_t length);
  static std::uint64_t bytes(const Config& c, std::uint32_t length) {
    return static_cast<std::uint64_t>(length) * c.E * sizeof(float);
  }

  const float* cos(std::uint32_t position) const { return table_.data() + static_cast<std::size_t>(position) * width_; }
  const float* sin(std::uint32_t position) const { return cos(position) + width_ / 2; }

 private:
  Buffer<float> table_;  // [length][cos E/2, sin E/2]
  std::size_t width_ = 0;
};

}  // namespace puna
