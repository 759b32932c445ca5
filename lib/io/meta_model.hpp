// What Meta's checkpoints say beside their tensors, and the model they make together.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "named_weights.hpp"
#include "puna/io/json.hpp"
#include "puna/io/torch_checkpoint.hpp"

namespace puna::io {

struct MetaParams {
  std::string where;  // "FILE" or "FILE: model_args", for messages
  std::uint64_t dim = 0, layers = 0, heads = 0, kv_heads = 0;
  std::uint64_t vocab = 0;    // 0: as the tensors say
  std::uint64_t context = 0;  // 0: not said
  double norm_epsilon = 1e-5, rope_theta = 10000.0;
};
MetaParams read_meta_params(const Json& json, const std::string& where);
// Values that a training program saved in the checkpoint under `key`, as the JSON they would be in params.json.
std::optional<Json> checkpoint_params(const TorchCheckpoint& checkpoint, const std::string& key);

struct MetaShard {
  std::string name;
  TensorMap tensors;  // under Meta's names
};
// `shards` in order; data's hyperparameters are filled here.
std::unique_ptr<WeightSource> make_meta_model(const MetaParams& params, std::vector<MetaShard> shards,
                                              NamedWeights::Data data);

}  // namespace puna::io
