// A Hugging Face model of tensors that were found already, in whatever container.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "puna/io/stored_tensor.hpp"
#include "puna/io/weight_source.hpp"

namespace puna::io {

struct HfTensors {
  std::string format;  // "safetensors" or "torch"
  std::vector<StoredTensor> tensors;
  std::vector<std::shared_ptr<const File>> files;
  std::vector<MetadataEntry> metadata;
};

// config.json and the tokenizer's files stand in `folder`; `name` begins the messages.
std::unique_ptr<WeightSource> make_hf_model(const std::string& folder, const std::string& name, HfTensors found);

}  // namespace puna::io
