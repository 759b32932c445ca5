// The small files of a Hugging Face folder, as text.
#pragma once

#include <string>

#include "puna/io/weight_sink.hpp"

namespace puna::io {

std::string hf_config_text(const ModelDescription& model, bool tied, DType type);
std::string hf_generation_config_text(const ModelDescription& model);
std::string hf_tokenizer_config_text(const ModelDescription& model);
// "tokenizer.model" or "tokenizer.json", by the bytes of description.tokenizer. Throws Error(unsupported) where neither
// can say what the vocabulary does.
std::string hf_tokenizer_name(const ModelDescription& model);
// "model.layers.3.self_attn.q_proj.weight".
std::string hf_tensor_name(Part part, std::uint32_t layer);

}  // namespace puna::io
