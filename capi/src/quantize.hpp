// Writing a model that is not a file's own: merged, or just trained.
#pragma once

#include "job.hpp"
#include "puna/io/weight_source.hpp"

namespace puna::capi {

std::unique_ptr<puna_job> write_model_job(RuntimeRef runtime, std::shared_ptr<const WeightSource> source, const std::string& path,
                                          const puna_quantize_options* options, bool requantize);

}  // namespace puna::capi
