// A Hugging Face folder: config.json, safetensors or torch shards, and the tokenizer's files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "puna/io/json.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

struct HfConfig {
  Hyperparameters hyperparameters;  // vocab 0: not said
  std::optional<bool> tied;         // tie_word_embeddings, when it is said
};

// Key forms of 2023 and of transformers 5. Error(unsupported) names what is no Llama or needs what this library lacks.
HfConfig read_hf_config(const Json& config, const std::string& file);

// *.index.json's map from tensor to shard, the shards' names checked to be plain names.
std::vector<std::pair<std::string, std::string>> read_weight_map(const Json& index, const std::string& file);

// tokenizer.model, else tokenizer.json; in `arrays` what the configuration files say beside it.
VocabSource find_hf_vocab(const std::string& folder, const Json& config, const std::string& config_file);

std::unique_ptr<WeightSource> open_hf_folder(const std::string& path);
Listing inspect_hf_folder(const std::string& path);

}  // namespace puna
