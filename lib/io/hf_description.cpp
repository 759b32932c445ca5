#include "hf_description.hpp"

#include <algorithm>

#include "json_text.hpp"
#include "puna/base/status.hpp"
#include "safetensors_sink.hpp"

namespace puna::io {
namespace {

using Scaling = Hyperparameters::RopeScaling;

std::string_view torch_type(DType type) {
  return type == DType::f32 ? "float32" : type == DType::f16 ? "float16" : "bfloat16";
}

// Two keys and no more for the kinds of 2023, whose readers insist on it.
std::string rope_scaling_text(const Hyperparameters& h) {
  if (h.rope_scaling == Scaling::none) return "null";
  JsonText out;
  out.number("factor", h.rope_factor);
  if (h.rope_scaling != Scaling::yarn) {
    out.text("type", h.rope_scaling == Scaling::linear ? "linear" : "dynamic");
    return out.str(1);
  }
  out.text("rope_type", "yarn");
  out.whole("original_max_position_embeddings", h.rope_original_context != 0 ? h.rope_original_context : h.context);
  out.number("beta_fast", h.yarn_beta_fast);
  out.number("beta_slow", h.yarn_beta_slow);
  if (h.yarn_attention_factor != 0.0) out.number("attention_factor", h.yarn_attention_factor);
  return out.str(1);
}

void add_ids(JsonText& out, const ModelDescription& model) {
  const VocabData usual;
  const VocabData& v = model.vocab ? *model.vocab : usual;
  const auto id = [&](const char* key, std::int32_t value) {
    out.raw(key, value >= 0 ? std::to_string(value) : "null");
  };
  id("bos_token_id", v.bos);
  id("eos_token_id", v.eos);
  if (v.pad >= 0) id("pad_token_id", v.pad);
}

}  // namespace

std::string hf_config_text(const ModelDescription& model, bool tied, DType type) {
  const Hyperparameters& h = model.hyperparameters;
  JsonText out;
  out.raw("architectures", "[\n    \"LlamaForCausalLM\"\n  ]");
  out.flag("attention_bias", false);
  out.number("attention_dropout", 0.0);
  add_ids(out, model);
  if (h.head_dim != 0 && h.head_dim * h.heads != h.dim) out.whole("head_dim", h.head_dim);
  out.text("hidden_act", "silu");
  out.whole("hidden_size", h.dim);
  out.number("initializer_range", 0.02);
  out.whole("intermediate_size", h.ffn_dim);
  out.whole("max_position_embeddings", h.context);
  out.flag("mlp_bias", false);
  out.text("model_type", "llama");
  out.whole("num_attention_heads", h.heads);
  out.whole("num_hidden_layers", h.layers);
  out.whole("num_key_value_heads", h.kv_heads);
  out.whole("pretraining_tp", 1);
  out.number("rms_norm_eps", h.norm_epsilon);
  out.raw("rope_scaling", rope_scaling_text(h));
  out.number("rope_theta", h.rope_theta);
  out.flag("tie_word_embeddings", tied);
  out.text("torch_dtype", torch_type(type));
  out.flag("use_cache", true);
  out.whole("vocab_size", h.vocab);
  if (!model.name.empty()) out.text("_name_or_path", model.name);
  return out.str() + "\n";
}

std::string hf_generation_config_text(const ModelDescription& model) {
  JsonText out;
  out.flag("_from_model_config", true);
  add_ids(out, model);
  return out.str() + "\n";
}

std::string hf_tokenizer_config_text(const ModelDescription& model) {
  const VocabData& v = *model.vocab;
  JsonText out;
  const auto token = [&](const char* key, std::int32_t id) {
    if (id >= 0 && static_cast<std::size_t>(id) < v.pieces.size()) out.text(key, v.pieces[static_cast<std::size_t>(id)]);
  };
  out.flag("add_bos_token", v.add_bos);
  out.flag("add_eos_token", v.add_eos);
  if (!v.add_space_prefix) out.flag("add_prefix_space", false);
  token("bos_token", v.bos);
  token("eos_token", v.eos);
  token("unk_token", v.unknown);
  token("pad_token", v.pad);
  if (!v.chat_template.empty()) out.text("chat_template", v.chat_template);
  out.flag("clean_up_tokenization_spaces", false);
  out.flag("legacy", true);
  out.whole("model_max_length", model.hyperparameters.context);
  out.raw("sp_model_kwargs", "{}");
  out.text("tokenizer_class", "LlamaTokenizer");
  return out.str() + "\n";
}

std::string hf_tokenizer_name(const ModelDescription& model) {
  if (!model.tokenizer) fail(Code::internal, "a vocabulary without the file to be put beside the weights");
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(model.tokenizer->size(), 64)), '\0');
  model.tokenizer->read(0, head.data(), head.size());
  const std::size_t text = head.find_first_not_of(" \n\r\t");
  if (text != std::string::npos && head[text] == '{') return "tokenizer.json";
  if (!head.starts_with('\x0a'))  // a ModelProto's first field: a piece
    fail(Code::internal, model.tokenizer->name() + " is no tokenizer.model or tokenizer.json");
  if (model.vocab->merge_rules)
    fail(Code::unsupported, model.tokenizer->name() +
                                ": the vocabulary merges by the ranked pairs of a tokenizer.json, which a "
                                "tokenizer.model cannot say exactly");
  return "tokenizer.model";
}

}  // namespace puna::io
