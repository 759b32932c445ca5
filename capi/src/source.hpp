// puna_source: where bytes come from.
#pragma once

#include "border.hpp"
#include "puna/infer/model.hpp"

namespace puna::capi {

puna_source read_source(const puna_source* source);
puna_source path_source(const char* path);
bool is_folder(const puna_source& source);
std::shared_ptr<const File> open_file(const puna_source& source);  // a single file; Error(argument) for a synthetic one
std::unique_ptr<WeightSource> open_weights_of(const puna_source& source);
WeightPlan plan_model(const WeightSource& weights, const Config& config, const puna_model_options* options);  // options may be null

}  // namespace puna::capi
