// A model of random weights in a published shape, for measuring speed and memory without a download.
#pragma once

#include <memory>
#include <string>

#include "puna/io/weight_source.hpp"

namespace puna {

// spec: "SHAPE:TYPE", such as "7b:q4_0" or "1.1b:f16". Shapes: 7b, 13b, 70b, 70b-layers (four of its layers), 34b, 1.1b,
// 110m, 42m, 15m, 260k; or numbers, such as "dim=64,layers=5,heads=8,vocab=512:f32". Throws Error(argument) listing what there is.
std::unique_ptr<WeightSource> synthetic_weights(const std::string& spec);

}  // namespace puna
