// Several rows in one sequence: attention stays inside each row and its positions begin at 0, so that every row is learnt
// as if it stood alone, and no place is lost to padding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "puna/train/example.hpp"

namespace puna {

struct Packed {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> loss;          // the first of each segment is 0: nothing predicts it
  std::vector<std::uint32_t> positions;    // from 0 in each segment
  std::vector<std::uint32_t> starts{0};    // segment s is [starts[s], starts[s + 1]); the mask is block-diagonal over them
  std::vector<std::uint32_t> rows;         // which example each segment is
  std::size_t segments() const { return starts.size() - 1; }
  // The query at i sees the keys from begin_of(i) to i.
  std::uint32_t begin_of(std::size_t i) const { return static_cast<std::uint32_t>(i) - positions[i]; }
};

// Whole rows in their order, a new sequence where the next one does not fit: torchtune's way. Error(argument) names a row
// longer than length, or empty.
std::vector<Packed> pack(std::span<const Example> examples, std::uint32_t length);
// The same, for the rows and the order given, such as an epoch's shuffle.
std::vector<Packed> pack(std::span<const Example> examples, std::span<const std::uint32_t> order, std::uint32_t length);

}  // namespace puna
