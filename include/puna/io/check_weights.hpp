// What every weight source has to keep before a model may be built from it.
#pragma once

#include <cstdint>

#include "puna/io/weight_source.hpp"

namespace puna {

// Rows and columns that a part must have.
struct Shape {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
};
Shape expected_shape(const Hyperparameters& h, Part part);

// Throws Error(format) naming the source, the field or tensor, and the value, unless the hyperparameters are numbers
// that a Llama can have and every tensor of every layer is there with the shape that follows from them.
void check_weights(const WeightSource& source);

}  // namespace puna
