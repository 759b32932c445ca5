// llama2.c checkpoints (.bin): v0 (f32, known by its exact size), v1 (f32) and v2 (int8 with one f32 scale a group).
#pragma once

#include <memory>
#include <string>

#include "puna/io/file.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

// True for v1 and v2, which have a magic number.
bool looks_like_llama2c(const File& file);

// Throws Error(format) naming the field, or the size that the header would need. A tokenizer.bin or tokenizer.model
// beside the file, when it has a path, becomes the vocabulary.
std::unique_ptr<WeightSource> open_llama2c(std::shared_ptr<const File> file);
// One row per part, all layers in it, as the file has them.
Listing inspect_llama2c(std::shared_ptr<const File> file);

}  // namespace puna
