// A Meta checkpoint folder: consolidated.NN.pth shards merged as they are copied, params.json, tokenizer.model.
#pragma once

#include <memory>
#include <string>

#include "puna/io/weight_source.hpp"

namespace puna {

std::unique_ptr<WeightSource> open_meta_folder(const std::string& path);
Listing inspect_meta_folder(const std::string& path);

}  // namespace puna
