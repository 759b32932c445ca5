// Which type each tensor gets: llama.cpp's mixes (llama_tensor_get_type, llama architecture), by their names.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "puna/io/weight_source.hpp"
#include "puna/nn/config.hpp"

namespace puna {

struct Mix {
  std::string_view name;     // "q4_k_m"
  std::uint32_t file_type;   // llama.cpp's general.file_type
  DType base;                // what most matrices get
};
std::span<const Mix> mixes();
// Case-insensitive; "q4_k" is q4_k_m and the like. Error(argument) listing the names.
const Mix& find_mix(std::string_view name);

struct TypeOverride {
  std::string pattern;  // of GGUF tensor names, '*' for anything: "blk.*.ffn_down.weight"
  DType type;
};
// "PATTERN=TYPE".
TypeOverride parse_override(std::string_view text);

struct MixRequest {
  const Mix* mix = nullptr;  // null: every tensor keeps its own type
  bool pure = false;         // the base type everywhere
  bool has_importance = false;
  std::vector<TypeOverride> overrides;
};

struct ChosenTensor {
  Part part;
  std::uint32_t layer;
  const WeightInfo* info;
  DType type;
  std::string name;  // GGUF's
};
// The tensors of a model in llama.cpp's order (those of no layer first, then by layer, by name) with their types.
std::vector<ChosenTensor> choose_types(const WeightSource& source, const Config& config, const MixRequest& request);

std::string gguf_tensor_name(Part part, std::uint32_t layer);

}  // namespace puna
