#include "gguf_layout.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"

namespace puna::io {
namespace {

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff);
}
void put_f32(std::string& out, float value) { put(out, std::bit_cast<std::uint32_t>(value)); }
void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out += text;
}
void put_array(std::string& out, GgufType element, std::uint64_t count) {
  put(out, static_cast<std::uint32_t>(element));
  put(out, count);
}

std::uint32_t need_u32(std::string_view key, std::uint64_t value) {
  if (value > std::numeric_limits<std::uint32_t>::max())
    fail(Code::unsupported, std::string(key) + ": " + std::to_string(value) + " is more than GGUF's key can hold");
  return static_cast<std::uint32_t>(value);
}

void put_scalar(std::string& out, const GgufEntry& entry) {
  std::uint64_t bits = 0;
  if (const auto* u = std::get_if<std::uint64_t>(&entry.value)) bits = *u;
  if (const auto* i = std::get_if<std::int64_t>(&entry.value)) bits = static_cast<std::uint64_t>(*i);
  if (const auto* b = std::get_if<bool>(&entry.value)) bits = *b ? 1 : 0;
  const auto* number = std::get_if<double>(&entry.value);
  switch (entry.type) {
    case GgufType::f32: return put_f32(out, static_cast<float>(number ? *number : 0.0));
    case GgufType::f64: return put(out, std::bit_cast<std::uint64_t>(number ? *number : 0.0));
    case GgufType::u8: case GgufType::i8: case GgufType::boolean: return put(out, static_cast<std::uint8_t>(bits));
    case GgufType::u16: case GgufType::i16: return put(out, static_cast<std::uint16_t>(bits));
    case GgufType::u32: case GgufType::i32: return put(out, static_cast<std::uint32_t>(bits));
    default: return put(out, bits);
  }
}

}  // namespace

std::string& GgufEntries::add(std::string_view key, GgufType type) {
  remove(key);
  Entry& entry = entries_.emplace_back();
  entry.key = key;
  put_text(entry.bytes, key);
  put(entry.bytes, static_cast<std::uint32_t>(type));
  return entry.bytes;
}
void GgufEntries::set_u32(std::string_view key, std::uint64_t value) {
  const std::uint32_t small = need_u32(key, value);
  put(add(key, GgufType::u32), small);
}
void GgufEntries::set_f32(std::string_view key, double value) {
  put_f32(add(key, GgufType::f32), static_cast<float>(value));
}
void GgufEntries::set_bool(std::string_view key, bool value) {
  put(add(key, GgufType::boolean), static_cast<std::uint8_t>(value));
}
void GgufEntries::set_text(std::string_view key, std::string_view value) {
  put_text(add(key, GgufType::string), value);
}
void GgufEntries::set_texts(std::string_view key, std::span<const std::string> values) {
  std::string& out = add(key, GgufType::array);
  put_array(out, GgufType::string, values.size());
  for (const std::string& value : values) put_text(out, value);
}
void GgufEntries::set_floats(std::string_view key, std::span<const float> values) {
  std::string& out = add(key, GgufType::array);
  put_array(out, GgufType::f32, values.size());
  for (const float value : values) put_f32(out, value);
}
void GgufEntries::set_i32s(std::string_view key, std::span<const std::int32_t> values) {
  std::string& out = add(key, GgufType::array);
  put_array(out, GgufType::i32, values.size());
  for (const std::int32_t value : values) put(out, static_cast<std::uint32_t>(value));
}

void GgufEntries::copy(const Gguf& source, const GgufEntry& entry) {
  std::string& out = add(entry.key, entry.type);
  if (const auto* text = std::get_if<std::string>(&entry.value)) return put_text(out, *text);
  const auto* array = std::get_if<GgufArray>(&entry.value);
  if (!array) return put_scalar(out, entry);
  put_array(out, array->element, array->count);
  const std::size_t before = out.size();
  out.resize(before + size_product(array->bytes, 1));
  source.file()->read(array->offset, out.data() + before, out.size() - before);
}

void GgufEntries::remove(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& e) { return e.key == key; });
}

std::string GgufEntries::take_bytes() {
  std::string all;
  for (Entry& e : entries_) {
    all += e.bytes;
    e.bytes = std::string();
  }
  return all;
}

namespace {

void add_rope_scaling(GgufEntries& out, const Hyperparameters& h) {
  using Scaling = Hyperparameters::RopeScaling;
  if (h.rope_scaling == Scaling::none) return;
  if (h.rope_scaling == Scaling::dynamic)
    fail(Code::unsupported, "rope_scaling: dynamic has no form in GGUF; a Hugging Face folder can say it");
  out.set_text("llama.rope.scaling.type", h.rope_scaling == Scaling::yarn ? "yarn" : "linear");
  out.set_f32("llama.rope.scaling.factor", h.rope_factor);
  if (h.rope_original_context != 0) out.set_u32("llama.rope.scaling.original_context_length", h.rope_original_context);
  if (h.rope_scaling != Scaling::yarn) return;
  const Hyperparameters usual;
  if (h.yarn_beta_fast != usual.yarn_beta_fast) out.set_f32("llama.rope.scaling.yarn_beta_fast", h.yarn_beta_fast);
  if (h.yarn_beta_slow != usual.yarn_beta_slow) out.set_f32("llama.rope.scaling.yarn_beta_slow", h.yarn_beta_slow);
  // llama.cpp multiplies its own 1 + 0.1 ln(factor) by this one.
  if (h.yarn_attention_factor != 0.0)
    out.set_f32("llama.rope.scaling.attn_factor",
                h.yarn_attention_factor / (1.0 + 0.1 * std::log(std::max(h.rope_factor, 1.0))));
}

void add_hyperparameters(GgufEntries& out, const Hyperparameters& h) {
  const std::uint64_t head = h.head_dim != 0 ? h.head_dim : h.heads != 0 ? h.dim / h.heads : 0;
  out.set_u32("llama.vocab_size", h.vocab);
  out.set_u32("llama.context_length", h.context);
  out.set_u32("llama.embedding_length", h.dim);
  out.set_u32("llama.block_count", h.layers);
  out.set_u32("llama.feed_forward_length", h.ffn_dim);
  out.set_u32("llama.rope.dimension_count", head);
  out.set_u32("llama.attention.head_count", h.heads);
  out.set_u32("llama.attention.head_count_kv", h.kv_heads);
  out.set_f32("llama.attention.layer_norm_rms_epsilon", h.norm_epsilon);
  out.set_f32("llama.rope.freq_base", h.rope_theta);
  if (head * h.heads != h.dim) {
    out.set_u32("llama.attention.key_length", head);
    out.set_u32("llama.attention.value_length", head);
  }
  add_rope_scaling(out, h);
}

// Other programs look for a user-defined piece in the text itself, so it stands there with its spaces; check_vocab
// turns them back.
std::vector<std::string> pieces_for_gguf(const VocabData& v) {
  static constexpr std::string_view symbol = "\xE2\x96\x81";  // U+2581
  std::vector<std::string> pieces = v.pieces;
  for (std::size_t i = 0; i < pieces.size() && i < v.types.size(); ++i) {
    if (v.types[i] != 4 || pieces[i].find(' ') != std::string::npos) continue;
    for (std::size_t at = pieces[i].find(symbol); at != std::string::npos; at = pieces[i].find(symbol, at))
      pieces[i].replace(at, symbol.size(), " ");
  }
  return pieces;
}

void add_vocab(GgufEntries& out, const VocabData& v) {
  if (v.merge_rules)
    fail(Code::unsupported,
         "the vocabulary merges by the ranked pairs of a tokenizer.json, which GGUF's scores cannot say exactly; give the "
         "model's tokenizer.model");
  if (v.scores.size() != v.pieces.size() || v.types.size() != v.pieces.size())
    fail(Code::internal, "a vocabulary of " + std::to_string(v.pieces.size()) + " pieces, " +
                             std::to_string(v.scores.size()) + " scores, " + std::to_string(v.types.size()) + " types");
  out.set_text("tokenizer.ggml.model", "llama");
  out.set_text("tokenizer.ggml.pre", "default");
  out.set_texts("tokenizer.ggml.tokens", pieces_for_gguf(v));
  out.set_floats("tokenizer.ggml.scores", v.scores);
  out.set_i32s("tokenizer.ggml.token_type", v.types);
  // 2^32 - 1 is how a token is absent that other programs would otherwise assume.
  const auto id = [&](std::string_view key, std::int32_t value) { out.set_u32(key, static_cast<std::uint32_t>(value)); };
  id("tokenizer.ggml.bos_token_id", v.bos);
  id("tokenizer.ggml.eos_token_id", v.eos);
  id("tokenizer.ggml.unknown_token_id", v.unknown);
  const auto optional_id = [&](std::string_view key, std::int32_t value) {
    if (value >= 0) id(key, value);
  };
  optional_id("tokenizer.ggml.padding_token_id", v.pad);
  optional_id("tokenizer.ggml.prefix_token_id", v.prefix);
  optional_id("tokenizer.ggml.suffix_token_id", v.suffix);
  optional_id("tokenizer.ggml.middle_token_id", v.middle);
  optional_id("tokenizer.ggml.eot_token_id", v.eot);
  out.set_bool("tokenizer.ggml.add_bos_token", v.add_bos);
  out.set_bool("tokenizer.ggml.add_eos_token", v.add_eos);
  out.set_bool("tokenizer.ggml.add_space_prefix", v.add_space_prefix);
  if (v.remove_extra_whitespaces) out.set_bool("tokenizer.ggml.remove_extra_whitespaces", true);
  if (!v.chat_template.empty()) out.set_text("tokenizer.chat_template", as_utf8(v.chat_template));
}

}  // namespace

GgufEntries gguf_entries(const ModelDescription& model) {
  GgufEntries out;
  if (model.gguf) {
    for (const GgufEntry& entry : model.gguf->entries()) out.copy(*model.gguf, entry);
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) out.remove(key);
  } else {
    out.set_text("general.architecture", "llama");
    out.set_text("general.type", "model");
    if (!model.name.empty()) out.set_text("general.name", as_utf8(model.name));
    add_hyperparameters(out, model.hyperparameters);
    if (model.vocab) add_vocab(out, *model.vocab);
    else out.set_text("tokenizer.ggml.model", "no_vocab");
  }
  if (model.quantized) out.set_u32("general.quantization_version", 2);
  out.set_u32("general.file_type", model.file_type);
  if (model.pack != 0) {  // a name of its own: other programs must not take such rows for ordinary ones
    out.set_text("general.architecture", packed_architecture);
    out.set_u32(packed_rows_key, model.pack);
  }
  for (const MetadataEntry& entry : model.extra) out.set_text(entry.key, entry.value);
  return out;
}

std::string gguf_tensor_name(Part part, std::uint32_t layer) {
  const std::string name = std::string(part_name(part)) + ".weight";
  return part_is_per_layer(part) ? "blk." + std::to_string(layer) + "." + name : name;
}

std::uint64_t sink_tensor_bytes(const SinkTensor& t, const std::string& output) {
  const auto wrong = [&](const std::string& why) {
    fail(Code::internal, output + ": " + gguf_tensor_name(t.part, t.layer) + ": " + why);
  };
  const DTypeInfo& type = info(t.type);
  if (t.rows == 0 || t.columns == 0 || t.columns % type.block != 0)
    wrong("no tensor of " + std::string(type.name) + " has " + std::to_string(t.rows) + " x " +
          std::to_string(t.columns) + " elements");
  const auto row = checked_mul(t.columns / type.block, type.block_bytes);
  const auto bytes = row ? checked_mul(*row, t.rows) : std::nullopt;
  if (!bytes || *bytes > std::numeric_limits<std::int64_t>::max() / 2) wrong("more bytes than a file can have");
  return *bytes;
}

GgufLayout gguf_layout(const ModelDescription& model, std::span<const SinkTensor> tensors) {
  GgufLayout out;
  if (model.gguf) out.alignment = model.gguf->alignment();
  GgufEntries entries = gguf_entries(model);
  out.header = "GGUF";
  put(out.header, std::uint32_t{3});
  put(out.header, static_cast<std::uint64_t>(tensors.size()));
  put(out.header, entries.count());
  out.header += entries.take_bytes();

  std::unordered_set<std::string> names;
  std::uint64_t offset = 0;  // from the beginning of the data
  for (const SinkTensor& t : tensors) {
    std::string name = gguf_tensor_name(t.part, t.layer);
    out.bytes.push_back(sink_tensor_bytes(t, "GGUF"));
    const bool vector = t.part == Part::attn_norm || t.part == Part::ffn_norm || t.part == Part::output_norm;
    put_text(out.header, name);
    put(out.header, std::uint32_t{vector ? 1u : 2u});
    put(out.header, t.columns);
    if (!vector) put(out.header, t.rows);
    else if (t.rows != 1) fail(Code::internal, "GGUF: " + name + " has " + std::to_string(t.rows) + " rows");
    if (static_cast<std::int32_t>(t.type) >= 1000)
      fail(Code::unsupported, name + ": " + std::string(info(t.type).name) + " is a type in memory only");
    put(out.header, static_cast<std::uint32_t>(t.type));
    put(out.header, offset);
    out.offsets.push_back(offset);
    const auto end = checked_add(offset, out.bytes.back());
    if (!end || *end > std::numeric_limits<std::int64_t>::max() / 2)
      fail(Code::internal, "GGUF: " + name + ": more bytes than a file can have");
    offset = round_up(*end, out.alignment);
    if (!names.insert(std::move(name)).second)
      fail(Code::internal, "GGUF: " + gguf_tensor_name(t.part, t.layer) + " is announced twice");
  }
  out.header.resize(static_cast<std::size_t>(round_up(out.header.size(), out.alignment)), '\0');
  for (std::uint64_t& at : out.offsets) at += out.header.size();
  out.size = out.header.size() + offset;
  return out;
}

}  // namespace puna::io

namespace puna {

std::uint64_t gguf_bytes(const ModelDescription& model, std::span<const SinkTensor> tensors) {
  return io::gguf_layout(model, tensors).size;
}

}  // namespace puna
