#include <limits>

#include "puna/io/hf_folder.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

using RopeScaling = Hyperparameters::RopeScaling;

std::uint64_t need_count(const JsonFields& fields, std::string_view key) {
  const std::uint64_t n = fields.need_whole(key);
  if (n == 0 || n > std::numeric_limits<std::int32_t>::max()) fields.refuse(key, "from 1 to 2^31 - 1");
  return n;
}

std::optional<std::uint64_t> optional_count(const JsonFields& fields, std::string_view key) {
  return fields.find(key) ? std::optional(need_count(fields, key)) : std::nullopt;
}

void check_model_type(const JsonFields& config) {
  const Json* all = config.find("architectures");
  const Json* first = all && all->items() && !all->items()->empty() ? &all->items()->front() : nullptr;
  const std::string* architecture = first ? first->string() : nullptr;
  if (const auto type = config.string("model_type"); type && *type != "llama")
    config.refuse("model_type", "\"llama\"", Code::unsupported);
  else if (!type && !architecture)
    config.refuse("model_type", "\"llama\"", Code::unsupported);
  if (architecture && *architecture != "LlamaForCausalLM" && *architecture != "LLaMAForCausalLM" &&
      *architecture != "LlamaModel")
    config.refuse("architectures", "[\"LlamaForCausalLM\"]", Code::unsupported);
}

void check_features(const JsonFields& config) {
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (config.boolean(key).value_or(false)) config.refuse(key, "false", Code::unsupported);
  if (config.string("hidden_act").value_or("silu") != "silu")
    config.refuse("hidden_act", "\"silu\"", Code::unsupported);
  if (config.find("quantization_config"))
    config.refuse("quantization_config", "absent: packed weights of other libraries are not read", Code::unsupported);
}

// The object that says how positions scale: rope_scaling where it is filled, else rope_parameters.
std::optional<JsonFields> rope_object(const JsonFields& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    auto fields = config.object(key);
    if (!fields || fields->json().members()->empty()) continue;
    for (const JsonMember& m : *fields->json().members())
      if (m.value.members()) fields->refuse(m.key, "no object: one rotation for all layers", Code::unsupported);
    return fields;
  }
  return std::nullopt;
}

void read_yarn(const JsonFields& config, const JsonFields& rope, Hyperparameters& h) {
  h.rope_scaling = RopeScaling::yarn;
  const auto original = optional_count(config, "original_max_position_embeddings");
  h.rope_original_context =
      original ? *original : optional_count(rope, "original_max_position_embeddings").value_or(h.context);
  h.rope_factor = rope.number("factor").value_or(static_cast<double>(h.context) /
                                                 static_cast<double>(h.rope_original_context));
  h.yarn_beta_fast = rope.number("beta_fast").value_or(32.0);
  h.yarn_beta_slow = rope.number("beta_slow").value_or(1.0);
  h.yarn_attention_factor = rope.number("attention_factor").value_or(0.0);
  for (const char* key : {"mscale", "mscale_all_dim"})
    if (rope.number(key).value_or(0.0) != 0.0) rope.refuse(key, "absent", Code::unsupported);
  if (!rope.boolean("truncate").value_or(true)) rope.refuse("truncate", "true", Code::unsupported);
}

void read_rope(const JsonFields& config, Hyperparameters& h) {
  const auto rope = rope_object(config);
  const auto number = [&](const char* key) {
    const auto nested = rope ? rope->number(key) : std::nullopt;
    return nested ? nested : config.number(key);
  };
  h.rope_theta = number("rope_theta").value_or(10000.0);
  constexpr const char* partial = "partial_rotary_factor";
  if (number(partial).value_or(1.0) != 1.0)
    (rope && rope->find(partial) ? *rope : config).refuse(partial, "1", Code::unsupported);
  if (!rope) return;
  const char* key = rope->find("rope_type") ? "rope_type" : "type";
  const std::string type = rope->string(key).value_or("default");
  if (type == "default") return;
  if (type == "yarn") return read_yarn(config, *rope, h);
  if (type != "linear" && type != "dynamic")
    rope->refuse(key, "default, linear, dynamic or yarn", Code::unsupported);
  h.rope_scaling = type == "linear" ? RopeScaling::linear : RopeScaling::dynamic;
  const auto factor = rope->number("factor");
  if (!factor) rope->refuse("factor", "a number");
  h.rope_factor = *factor;
}

// An id, or the first of a list of ids; -1 and null say that there is none.
std::optional<std::int32_t> token_id(const JsonFields& fields, std::string_view key) {
  const Json* value = fields.find(key);
  if (value && value->items()) value = value->items()->empty() ? nullptr : &value->items()->front();
  if (!value || value->number() == -1.0) return std::nullopt;
  const std::uint64_t* id = value->whole();
  if (!id || *id > std::numeric_limits<std::int32_t>::max()) fields.refuse(key, "a token id");
  return static_cast<std::int32_t>(*id);
}

void read_ids(const JsonFields& fields, VocabData& out) {
  if (const auto id = token_id(fields, "bos_token_id")) out.bos = *id;
  if (const auto id = token_id(fields, "eos_token_id")) out.eos = *id;
  if (const auto id = token_id(fields, "pad_token_id")) out.pad = *id;
}

// The text, or the one named "default" (else the first) of a list of {name, template}.
std::string chat_template(const JsonFields& fields) {
  const Json* value = fields.find("chat_template");
  if (!value) return {};
  if (value->string()) return *value->string();
  std::string found;
  if (!value->items()) fields.refuse("chat_template", "text or a list");
  for (const Json& item : *value->items()) {
    const Json* name = item.find("name");
    const Json* text = item.find("template");
    if (!text || !text->string()) continue;
    const bool is_default = name && name->string() && *name->string() == "default";
    if (found.empty() || is_default) found = *text->string();
    if (is_default) break;
  }
  return found;
}

}  // namespace

HfConfig read_hf_config(const Json& json, const std::string& file) {
  const JsonFields config(json, file);
  check_model_type(config);
  check_features(config);
  HfConfig out;
  Hyperparameters& h = out.hyperparameters;
  h.dim = need_count(config, "hidden_size");
  h.ffn_dim = need_count(config, "intermediate_size");
  h.layers = need_count(config, "num_hidden_layers");
  h.heads = need_count(config, "num_attention_heads");
  h.kv_heads = optional_count(config, "num_key_value_heads").value_or(h.heads);
  h.head_dim = optional_count(config, "head_dim").value_or(0);
  if (h.head_dim == 0 && h.dim % h.heads != 0)
    config.refuse("num_attention_heads", "a divisor of hidden_size " + std::to_string(h.dim));
  h.vocab = optional_count(config, "vocab_size").value_or(0);
  h.context = optional_count(config, "max_position_embeddings").value_or(2048);
  h.norm_epsilon = config.number("rms_norm_eps").value_or(1e-6);
  read_rope(config, h);
  out.tied = config.boolean("tie_word_embeddings");
  return out;
}

std::vector<std::pair<std::string, std::string>> read_weight_map(const Json& index, const std::string& file) {
  const JsonFields fields(index, file);
  const auto map = fields.object("weight_map");
  if (!map) fields.refuse("weight_map", "an object");
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [tensor, value] : *map->json().members()) {
    const std::string* shard = value.string();
    // A shard stands beside its index: nothing that a file system reads as more than a name.
    const bool plain = shard && !shard->empty() && shard->size() <= 255 && *shard != "." && *shard != ".." &&
                       shard->find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos;
    if (!plain)
      fail(Code::format, file + ": weight_map: the file of " + puna::quoted(tensor) + " is " +
                             (shard ? puna::quoted(*shard) : value.dump()) + ", but must be a plain file name");
    out.emplace_back(tensor, *shard);
  }
  return out;
}

VocabSource find_hf_vocab(const std::string& folder, const Json& config, const std::string& config_file) {
  VocabSource out;
  const auto beside = [&](const char* name) { return path_join(folder, name); };
  if (path_exists(beside("tokenizer.model"))) {
    out.kind = VocabSource::Kind::spm_model;
    out.file = File::open(beside("tokenizer.model"));
  } else if (path_exists(beside("tokenizer.json"))) {
    out.kind = VocabSource::Kind::hf_json;
    out.file = File::open(beside("tokenizer.json"));
  }
  read_ids(JsonFields(config, config_file), out.arrays);
  if (const auto path = beside("generation_config.json"); path_exists(path)) {
    const Json json = read_json_file(path);
    read_ids(JsonFields(json, path), out.arrays);
  }
  if (const auto path = beside("tokenizer_config.json"); path_exists(path)) {
    const Json json = read_json_file(path);
    const JsonFields fields(json, path);
    out.arrays.add_bos = fields.boolean("add_bos_token").value_or(true);
    out.arrays.add_eos = fields.boolean("add_eos_token").value_or(false);
    out.arrays.chat_template = chat_template(fields);
  }
  if (const auto path = beside("chat_template.jinja"); path_exists(path))
    out.arrays.chat_template = read_text_file(*File::open(path), std::size_t{1} << 20);
  return out;
}

}  // namespace puna
