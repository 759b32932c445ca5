// A Llama in a GGUF file as a weight source. llama.cpp's converter stores q and k in Meta's row order already.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "puna/base/checked.hpp"
#include "puna/io/check_weights.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr int layer_parts = 9;  // attn_norm to down
static_assert(static_cast<int>(Part::down) - static_cast<int>(Part::attn_norm) + 1 == layer_parts);

// "blk.12.attn_q.weight" -> 12 and "attn_q.weight".
struct LayerName {
  std::uint64_t layer;
  std::string_view rest;
};
std::optional<LayerName> split_layer(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  std::size_t i = 4;
  std::uint64_t layer = 0;
  while (i < name.size() && name[i] >= '0' && name[i] <= '9' && i < 14)
    layer = layer * 10 + static_cast<unsigned>(name[i++] - '0');
  if (i == 4 || i >= name.size() || name[i] != '.') return std::nullopt;
  if (name[4] == '0' && i > 5) return std::nullopt;  // "blk.00." would be a second name for layer 0
  return LayerName{layer, name.substr(i + 1)};
}

std::optional<Part> part_of(std::string_view name) {
  if (!name.ends_with(".weight")) return std::nullopt;
  name.remove_suffix(7);
  for (int p = 0; p < part_count; ++p)
    if (part_name(static_cast<Part>(p)) == name) return static_cast<Part>(p);
  return std::nullopt;
}

class GgufWeights final : public WeightSource {
 public:
  explicit GgufWeights(Gguf gguf) : g_(std::move(gguf)) {
    refuse_other_kinds();
    read_hyperparameters();
    read_rope_scaling();
    index_parts();
    mark_packed();
    settle_vocab();
    check_rope_factors();
  }

  std::string format() const override { return "GGUF v" + std::to_string(g_.version()); }
  std::string name() const override { return g_.file()->name(); }
  const Hyperparameters& hyperparameters() const override { return h_; }
  const Gguf* gguf() const override { return &g_; }

  const WeightInfo* find(Part part, std::uint32_t layer) const override {
    const std::size_t i = slot(part, layer);
    return i == none ? nullptr : &infos_[i];
  }

  const std::byte* borrow(Part part, std::uint32_t layer) const override {
    const std::size_t i = slot(part, layer);
    const std::byte* data = g_.file()->data();
    return i == none || !data ? nullptr : data + g_.tensors()[i].offset;
  }

  void give_back(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count) const noexcept override {
    const std::size_t i = slot(part, layer);
    const std::byte* data = g_.file()->data();
    if (i == none || !data) return;
    const std::uint64_t bytes = row_bytes(infos_[i].type, infos_[i].columns);
    g_.file()->give_back(data + g_.tensors()[i].offset + row * bytes, static_cast<std::size_t>(count * bytes));
  }

  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override {
    const std::size_t i = slot(part, layer);
    if (i == none) fail(Code::internal, name() + ": tensor " + std::string(part_name(part)) + " is not there to copy");
    const WeightInfo& w = infos_[i];
    if (row > w.rows || count > w.rows - row)
      fail(Code::internal, name() + ": " + quoted(w.name) + ": rows " + std::to_string(row) + " + " +
                               std::to_string(count) + " of " + std::to_string(w.rows));
    const std::uint64_t bytes = row_bytes(w.type, w.columns);
    g_.file()->read(g_.tensors()[i].offset + row * bytes, dst, size_product(count, bytes));
  }

  VocabSource vocab() const override;

  std::vector<MetadataEntry> metadata() const override {
    std::vector<MetadataEntry> all;
    all.reserve(g_.entries().size());
    for (const GgufEntry& e : g_.entries()) all.push_back({as_utf8(e.key), g_.value_text(e)});
    return all;
  }

  std::vector<std::shared_ptr<const File>> files() const override { return {g_.file()}; }

 private:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  void refuse_other_kinds() {
    if (const auto type = g_.text("general.type"); type && *type != "model")
      g_.unsupported("general.type", quoted(*type) + " is no model");
    const auto architecture = g_.text("general.architecture");
    if (!architecture) g_.refuse("general.architecture", "is missing");
    if (*architecture == packed_architecture)
      read_pack();
    else if (*architecture != "llama")
      g_.unsupported("general.architecture", quoted(*architecture) + " is not \"llama\"");
    if (const auto parts = g_.whole("split.count"); parts && *parts > 1)
      g_.unsupported("split.count", "one of " + std::to_string(*parts) + " parts; merge them into one file first");
    if (const auto experts = g_.whole("llama.expert_count"); experts && *experts > 0)
      g_.unsupported("llama.expert_count", std::to_string(*experts) + " experts; Llama 2 has none");
  }

  void read_pack() {
    const std::uint64_t rows = need(packed_rows_key);
    if (rows != 4 && rows != 8 && rows != 16) g_.unsupported(packed_rows_key, std::to_string(rows) + " is not 4, 8 or 16");
    pack_ = static_cast<std::uint32_t>(rows);
  }

  // Which matrices of a packed file are: those that a model packs, where whole groups of rows make them up.
  void mark_packed() {
    if (pack_ == 0) return;
    const bool tied = is_tied(*this);
    const auto mark = [&](Part part, std::uint32_t layer) {
      const std::size_t i = slot(part, layer);
      if (i != none && packs(part, infos_[i].type, pack_, tied) && infos_[i].rows % pack_ == 0) infos_[i].pack = pack_;
    };
    for (int p = 0; p < part_count; ++p)
      for (std::uint32_t layer = 0; layer < (part_is_per_layer(static_cast<Part>(p)) ? layers_.size() : 1); ++layer)
        mark(static_cast<Part>(p), layer);
  }

  std::uint64_t need(std::string_view key, std::optional<std::uint64_t> value) const {
    if (!value) g_.refuse(key, "is missing");
    if (*value == 0 || *value > std::numeric_limits<std::int32_t>::max())
      g_.refuse(key,
                std::to_string(*value) + " is not 1 to " + std::to_string(std::numeric_limits<std::int32_t>::max()));
    return *value;
  }
  std::uint64_t need(std::string_view key) const { return need(key, g_.whole(key)); }

  // A number, or one per layer when they are all the same.
  std::optional<std::uint64_t> same_for_all_layers(std::string_view key) const {
    const GgufEntry* e = g_.find(key);
    if (!e || e->type != GgufType::array) return g_.whole(key);
    const auto values = g_.integers(key);
    if (values->empty()) g_.refuse(key, "is an array of no element");
    for (const std::int64_t v : *values)
      if (v != values->front()) g_.unsupported(key, "layers differ: " + g_.value_text(*e));
    if (values->front() < 0) g_.refuse(key, std::to_string(values->front()) + " is negative");
    return static_cast<std::uint64_t>(values->front());
  }

  double positive(std::string_view key, double otherwise) const {
    const auto value = g_.number(key);
    if (!value) return otherwise;
    if (!(*value > 0)) g_.refuse(key, g_.value_text(*g_.find(key)) + " is not positive");
    return *value;
  }

  void read_hyperparameters() {
    h_.context = need("llama.context_length");
    h_.dim = need("llama.embedding_length");
    h_.layers = need("llama.block_count");
    h_.ffn_dim = need("llama.feed_forward_length", same_for_all_layers("llama.feed_forward_length"));
    h_.heads = need("llama.attention.head_count", same_for_all_layers("llama.attention.head_count"));
    const auto kv = same_for_all_layers("llama.attention.head_count_kv");
    h_.kv_heads = kv ? need("llama.attention.head_count_kv", kv) : h_.heads;
    static constexpr std::string_view epsilon = "llama.attention.layer_norm_rms_epsilon";
    if (!g_.find(epsilon)) g_.refuse(epsilon, "is missing");
    h_.norm_epsilon = positive(epsilon, 0);
    h_.rope_theta = positive("llama.rope.freq_base", 10000.0);
    if (h_.heads % h_.kv_heads != 0)
      g_.refuse("llama.attention.head_count_kv", std::to_string(h_.kv_heads) + " does not divide the " +
                                                     std::to_string(h_.heads) + " heads");
    read_head_width();
  }

  void read_head_width() {
    static constexpr std::string_view key_length = "llama.attention.key_length";
    const auto k = g_.whole(key_length);
    if (k) h_.head_dim = need(key_length, k);
    if (!k && h_.dim % h_.heads != 0)
      g_.refuse("llama.attention.head_count",
                std::to_string(h_.heads) + " does not divide the width " + std::to_string(h_.dim));
    const std::uint64_t width = k ? *k : h_.dim / h_.heads;
    if (width > h_.dim || h_.heads * width > std::numeric_limits<std::int32_t>::max())
      g_.refuse(key_length, std::to_string(width) + " is too large");
    if (const auto v = g_.whole("llama.attention.value_length"); v && *v != width)
      g_.unsupported("llama.attention.value_length",
                     std::to_string(*v) + " differs from the key length " + std::to_string(width));
    if (const auto d = g_.whole("llama.rope.dimension_count"); d && *d != width)
      g_.unsupported("llama.rope.dimension_count", std::to_string(*d) + " of a head's " + std::to_string(width) +
                                                       " elements; Llama turns all of them");
  }

  void read_rope_scaling() {
    const auto type = g_.text("llama.rope.scaling.type");
    if (type && *type == "linear") {
      h_.rope_scaling = Hyperparameters::RopeScaling::linear;
    } else if (type && *type == "yarn") {
      h_.rope_scaling = Hyperparameters::RopeScaling::yarn;
    } else if (type && *type != "none") {
      g_.unsupported("llama.rope.scaling.type", quoted(*type) + " is neither none, linear nor yarn");
    }
    const bool has_factor = g_.find("llama.rope.scaling.factor") != nullptr;
    double factor = positive("llama.rope.scaling.factor", 1.0);
    // Older files say a linear factor under this key alone.
    if (!type && !has_factor) factor = positive("llama.rope.scale_linear", 1.0);
    if (!type && factor != 1.0) h_.rope_scaling = Hyperparameters::RopeScaling::linear;
    if (h_.rope_scaling == Hyperparameters::RopeScaling::none) return;
    h_.rope_factor = factor;
    if (const auto original = g_.whole("llama.rope.scaling.original_context_length"); original && *original != 0)
      h_.rope_original_context = need("llama.rope.scaling.original_context_length", original);
    if (h_.rope_scaling == Hyperparameters::RopeScaling::yarn) read_yarn();
  }

  void read_yarn() {
    h_.yarn_beta_fast = positive("llama.rope.scaling.yarn_beta_fast", h_.yarn_beta_fast);
    h_.yarn_beta_slow = positive("llama.rope.scaling.yarn_beta_slow", h_.yarn_beta_slow);
    static constexpr std::string_view ext = "llama.rope.scaling.yarn_ext_factor";
    if (const auto mix = g_.number(ext); mix && *mix >= 0 && *mix != 1.0)
      g_.unsupported(ext, g_.value_text(*g_.find(ext)) + "; only 1 is known here");
    // llama.cpp multiplies its own 1 + 0.1 ln(factor) by these; a hyperparameter is the whole product.
    const double scale =
        positive("llama.rope.scaling.attn_factor", 1.0) * positive("llama.rope.scaling.yarn_attn_factor", 1.0);
    if (scale != 1.0) h_.yarn_attention_factor = scale * (1.0 + 0.1 * std::log(std::max(h_.rope_factor, 1.0)));
  }

  void index_parts() {
    once_.fill(none);
    // Nine tensors a layer: a claim of more layers than the file has tensors for is refused before it is allocated for.
    if (h_.layers > g_.tensors().size() / layer_parts)
      g_.refuse("llama.block_count", std::to_string(h_.layers) + " layers need more than the file's " +
                                         std::to_string(g_.tensors().size()) + " tensors");
    std::array<std::size_t, layer_parts> empty;
    empty.fill(none);
    layers_.assign(static_cast<std::size_t>(h_.layers), empty);
    infos_.resize(g_.tensors().size());
    for (std::size_t i = 0; i < g_.tensors().size(); ++i) index_tensor(i);
  }

  void index_tensor(std::size_t i) {
    const GgufTensor& t = g_.tensors()[i];
    const auto in_layer = split_layer(t.name);
    const auto part = part_of(in_layer ? in_layer->rest : std::string_view(t.name));
    if (!part || part_is_per_layer(*part) != in_layer.has_value()) {
      refuse_strange(t, in_layer.has_value());
      return;
    }
    if (in_layer && in_layer->layer >= h_.layers)
      g_.refuse(t.name, "lies past llama.block_count " + std::to_string(h_.layers));
    const DTypeInfo* type = t.type <= 999 ? find_dtype(static_cast<std::int32_t>(t.type)) : nullptr;
    if (!type) {
      const GgmlType* known = find_ggml_type(t.type);
      g_.unsupported(t.name, "its type " + std::to_string(t.type) +
                                 (known ? " (" + std::string(known->name) + ")" : "") + " is not supported");
    }
    infos_[i] = {t.name, type->type, t.rows(), t.columns()};
    (in_layer ? layers_[static_cast<std::size_t>(in_layer->layer)][layer_slot(*part)]
              : once_[static_cast<std::size_t>(*part)]) = i;
  }

  // A tensor that is no part of a Llama 2 may be left alone only when the network is the same without it.
  void refuse_strange(const GgufTensor& t, bool in_layer) const {
    const std::string_view name = t.name;
    if (name.ends_with("attn_rot_embd.weight") || name.ends_with("attn_rot_embd")) return;
    if (in_layer || name.ends_with(".bias")) g_.unsupported(name, "a tensor that Llama 2 does not have");
  }

  // The vocabulary's size is that of the embedding; llama.vocab_size only repeats it.
  void settle_vocab() {
    const std::size_t i = once_[static_cast<std::size_t>(Part::token_embedding)];
    if (i == none) g_.refuse("token_embd.weight", "the tensor is missing");
    h_.vocab = infos_[i].rows;
    if (const auto size = g_.whole("llama.vocab_size"); size && *size != h_.vocab)
      g_.refuse("llama.vocab_size",
                std::to_string(*size) + ", but token_embd.weight has " + std::to_string(h_.vocab) + " rows");
  }

  // Llama 3.1 stores divisors of the rotation frequencies. Ones, or a copy of the frequencies, change nothing.
  void check_rope_factors() const {
    const GgufTensor* t = g_.find_tensor("rope_freqs.weight");
    if (!t || t->type != static_cast<std::uint32_t>(DType::f32)) return;
    const std::uint64_t n = t->columns();
    const std::uint64_t width = h_.head_dim != 0 ? h_.head_dim : h_.dim / h_.heads;
    if (t->rows() != 1 || n != width / 2) g_.unsupported(t->name, std::to_string(n) + " rotation factors");
    std::vector<float> f(static_cast<std::size_t>(n));
    g_.file()->read(t->offset, f.data(), f.size() * sizeof(float));
    bool ones = true, frequencies = true;
    for (std::size_t j = 0; j < f.size(); ++j) {
      ones = ones && f[j] == 1.0f;
      const double own = std::pow(h_.rope_theta, -2.0 * static_cast<double>(j) / static_cast<double>(width));
      frequencies = frequencies && std::abs(f[j] - own) <= 0.01 * own;
    }
    if (!ones && !frequencies) g_.unsupported(t->name, "rotation factors other than 1; Llama 2 has none");
  }

  static std::size_t layer_slot(Part part) {
    return static_cast<std::size_t>(part) - static_cast<std::size_t>(Part::attn_norm);
  }
  std::size_t slot(Part part, std::uint32_t layer) const {
    if (part_is_per_layer(part)) return layer < layers_.size() ? layers_[layer][layer_slot(part)] : none;
    return layer == 0 ? once_[static_cast<std::size_t>(part)] : none;
  }

  Gguf g_;
  Hyperparameters h_;
  std::vector<WeightInfo> infos_;  // one per tensor, filled for those that are ours
  std::uint32_t pack_ = 0;  // rows side by side in a packed file
  std::array<std::size_t, part_count> once_{};
  std::vector<std::array<std::size_t, layer_parts>> layers_;
};

// The id under the first of the keys that is there; 4294967295 and -1 mean that there is none.
std::int32_t special_id(const Gguf& g, std::initializer_list<std::string_view> keys, std::size_t pieces,
                        std::int32_t otherwise) {
  for (const std::string_view key : keys) {
    const GgufEntry* e = g.find(key);
    if (!e) continue;
    if (const auto* i = std::get_if<std::int64_t>(&e->value); i && *i == -1) return -1;
    const std::uint64_t id = *g.whole(key);
    if (id == std::numeric_limits<std::uint32_t>::max()) return -1;
    if (id >= pieces) g.refuse(key, std::to_string(id) + " is past the " + std::to_string(pieces) + " pieces");
    return static_cast<std::int32_t>(id);
  }
  return otherwise >= 0 && static_cast<std::size_t>(otherwise) < pieces ? otherwise : -1;
}

void read_pieces(const Gguf& g, VocabData& v) {
  auto pieces = g.texts("tokenizer.ggml.tokens");
  if (!pieces) g.refuse("tokenizer.ggml.tokens", "is missing");
  v.pieces = std::move(*pieces);
  auto scores = g.floats("tokenizer.ggml.scores");
  if (!scores) g.refuse("tokenizer.ggml.scores", "is missing");
  if (scores->size() != v.pieces.size())
    g.refuse("tokenizer.ggml.scores",
             std::to_string(scores->size()) + " scores for " + std::to_string(v.pieces.size()) + " pieces");
  v.scores = std::move(*scores);
  const auto types = g.integers("tokenizer.ggml.token_type");
  if (!types) return;  // text/ tells what it can
  if (types->size() != v.pieces.size())
    g.refuse("tokenizer.ggml.token_type",
             std::to_string(types->size()) + " types for " + std::to_string(v.pieces.size()) + " pieces");
  v.types.reserve(types->size());
  for (const std::int64_t t : *types) {
    if (t < 0 || t > 6)
      g.refuse("tokenizer.ggml.token_type", std::to_string(t) + " for piece " + std::to_string(v.types.size()));
    v.types.push_back(static_cast<std::int32_t>(t));
  }
}

VocabSource GgufWeights::vocab() const {
  VocabSource source;
  const auto model = g_.text("tokenizer.ggml.model");
  if (!model || *model == "no_vocab" || *model == "none") return source;
  if (*model != "llama") g_.unsupported("tokenizer.ggml.model", quoted(*model) + " is not \"llama\" (sentencepiece)");
  source.kind = VocabSource::Kind::arrays;
  source.file = g_.file();  // for the name in messages
  VocabData& v = source.arrays;
  read_pieces(g_, v);
  const std::size_t n = v.pieces.size();
  if (n != h_.vocab)
    g_.refuse("tokenizer.ggml.tokens",
              std::to_string(n) + " pieces for " + std::to_string(h_.vocab) + " rows of token_embd.weight");
  v.bos = special_id(g_, {"tokenizer.ggml.bos_token_id"}, n, 1);
  v.eos = special_id(g_, {"tokenizer.ggml.eos_token_id"}, n, 2);
  v.unknown = special_id(g_, {"tokenizer.ggml.unknown_token_id"}, n, 0);
  v.pad = special_id(g_, {"tokenizer.ggml.padding_token_id"}, n, -1);
  v.prefix = special_id(g_, {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"}, n, -1);
  v.suffix = special_id(g_, {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"}, n, -1);
  v.middle = special_id(g_, {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"}, n, -1);
  v.eot = special_id(g_, {"tokenizer.ggml.eot_token_id"}, n, -1);
  v.add_bos = g_.boolean("tokenizer.ggml.add_bos_token").value_or(true);
  v.add_eos = g_.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  v.add_space_prefix = g_.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  v.remove_extra_whitespaces = g_.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
  v.chat_template = g_.text("tokenizer.chat_template").value_or(std::string());
  return source;
}

}  // namespace

std::unique_ptr<WeightSource> open_gguf(std::shared_ptr<const File> file) {
  return std::make_unique<GgufWeights>(Gguf(std::move(file)));
}

Listing inspect_gguf(std::shared_ptr<const File> file) {
  Gguf g(std::move(file));
  Listing listing;
  listing.format = "GGUF v" + std::to_string(g.version());
  for (const GgufEntry& e : g.entries()) listing.metadata.push_back({as_utf8(e.key), g.value_text(e)});
  for (const GgufTensor& t : g.tensors()) {
    const GgmlType* type = find_ggml_type(t.type);
    TensorListing row{as_utf8(t.name), type ? std::string(type->name) : "type " + std::to_string(t.type), {}, t.bytes};
    for (std::uint32_t d = t.n_dims; d-- > 0;) row.shape.push_back(t.dims[d]);
    listing.tensors.push_back(std::move(row));
  }
  try {
    const GgufWeights weights(std::move(g));
    check_weights(weights);
    listing.hyperparameters = weights.hyperparameters();
    listing.tied = is_tied(weights);
  } catch (const Error& e) {
    // Not a Llama that this library could load; the listing is what was asked for.
    if (e.code() != Code::format && e.code() != Code::unsupported) throw;
  }
  return listing;
}

}  // namespace puna
