#include "meta_model.hpp"

#include <algorithm>
#include <limits>

#include "puna/io/printable.hpp"

namespace puna::io {
namespace {

constexpr PartNames meta_names{
    .token_embedding = "tok_embeddings", .output_norm = "norm", .output = "output", .attn_norm = "attention_norm",
    .wq = "attention.wq", .wk = "attention.wk", .wv = "attention.wv", .wo = "attention.wo", .ffn_norm = "ffn_norm",
    .gate = "feed_forward.w1", .up = "feed_forward.w3", .down = "feed_forward.w2"};

std::uint64_t need_count(const JsonFields& fields, std::string_view key) {
  const std::uint64_t n = fields.need_whole(key);
  if (n == 0 || n > std::numeric_limits<std::int32_t>::max()) fields.refuse(key, "from 1 to 2^31 - 1");
  return n;
}

// Meta's programs derive the rest by the model's version, which epsilon and theta give away.
std::uint64_t guess_context(const MetaParams& p) {
  if (p.rope_theta == 1e6) return 16384;
  return p.norm_epsilon == 1e-5 ? 4096 : 2048;
}

// Takes one part out of all shards and finds out how they cut it.
class Builder {
 public:
  Builder(const MetaParams& params, std::vector<MetaShard>& shards, NamedWeights& out)
      : p_(params), shards_(shards), out_(out), n_(shards.size()) {}

  void run(Hyperparameters& h) {
    const std::uint64_t head = p_.dim / p_.heads;
    if (head % 2 != 0)
      fail(Code::format, p_.where + ": a head width of " + std::to_string(head) + " cannot be rotated");
    NamedWeight embedding = matrix(Part::token_embedding, 0, p_.vocab, p_.dim);
    h.vocab = embedding.info.rows;
    NamedWeight output = matrix(Part::output, 0, h.vocab, p_.dim);
    const bool tied = n_ == 1 && same_place(embedding.pieces[0], output.pieces[0]);
    out_.set(Part::token_embedding, std::move(embedding));
    if (!tied) out_.set(Part::output, std::move(output));
    for (std::uint64_t layer = 0; layer < p_.layers; ++layer) {
      out_.set(Part::attn_norm, vector(Part::attn_norm, layer));
      out_.set(Part::wq, matrix(Part::wq, layer, p_.heads * head, p_.dim));
      out_.set(Part::wk, matrix(Part::wk, layer, p_.kv_heads * head, p_.dim));
      out_.set(Part::wv, matrix(Part::wv, layer, p_.kv_heads * head, p_.dim));
      out_.set(Part::wo, matrix(Part::wo, layer, p_.dim, p_.heads * head));
      out_.set(Part::ffn_norm, vector(Part::ffn_norm, layer));
      // The first gate says how wide the feed-forward is; params.json says it by a formula with exceptions.
      NamedWeight gate = matrix(Part::gate, layer, h.ffn_dim, p_.dim);
      h.ffn_dim = gate.info.rows;
      out_.set(Part::gate, std::move(gate));
      out_.set(Part::up, matrix(Part::up, layer, h.ffn_dim, p_.dim));
      out_.set(Part::down, matrix(Part::down, layer, p_.dim, h.ffn_dim));
    }
    out_.set(Part::output_norm, vector(Part::output_norm, 0));
    for (const MetaShard& shard : shards_) refuse_leftovers(shard.tensors);
  }

 private:
  // The part's piece in every shard: equal types and shapes.
  std::vector<StoredTensor> take(Part part, std::uint64_t layer, std::size_t rank) {
    std::vector<StoredTensor> pieces;
    const std::string name = meta_names.name(part, layer);
    for (MetaShard& shard : shards_) {
      pieces.push_back(take_tensor(shard.tensors, name, rank, shard.name));
      const StoredTensor& a = pieces.front();
      const StoredTensor& b = pieces.back();
      if (a.shape != b.shape || a.dtype != b.dtype)
        fail(Code::format, shard.name + ": tensor " + puna::quoted(b.name) + " is " + b.type + " " +
                               shape_text(b.shape) + ", but " + a.type + " " + shape_text(a.shape) + " in " +
                               shards_.front().name);
    }
    return pieces;
  }

  // Every shard has the whole vector.
  NamedWeight vector(Part part, std::uint64_t layer) {
    auto pieces = take(part, layer, 1);
    if (pieces[0].columns() != p_.dim)
      fail(Code::format, shards_[0].name + ": tensor " + puna::quoted(pieces[0].name) + ": shape " +
                             shape_text(pieces[0].shape) + ", but must be [" + std::to_string(p_.dim) + "]");
    pieces.resize(1);
    NamedWeight w;
    w.info = {pieces[0].name, *pieces[0].dtype, 1, p_.dim};
    w.pieces = std::move(pieces);
    return w;
  }

  // rows 0: as many as there are. Column-parallel layers are cut by rows, row-parallel ones and most embeddings by
  // columns; the shapes say which, and that no shard is missing.
  NamedWeight matrix(Part part, std::uint64_t layer, std::uint64_t rows, std::uint64_t columns) {
    auto pieces = take(part, layer, 2);
    const std::uint64_t r = pieces[0].rows(), c = pieces[0].columns();
    NamedWeight w;
    w.info = {pieces[0].name, *pieces[0].dtype, rows, columns};
    if (c == columns && (rows == 0 || (rows % n_ == 0 && r == rows / n_))) {
      w.info.rows = r * n_;
    } else if (columns % n_ == 0 && c == columns / n_ && (rows == 0 || r == rows)) {
      w.info.rows = r;
      w.by_columns = true;
    } else {
      const std::string want = rows == 0 ? "[any, " + std::to_string(columns) + "]" : shape_text({rows, columns});
      fail(Code::format, shards_[0].name + ": tensor " + puna::quoted(pieces[0].name) + ": shape " +
                             shape_text(pieces[0].shape) + " in each of " + std::to_string(n_) +
                             (n_ == 1 ? " shard" : " shards") + " does not make " + want +
                             ": is a shard missing, or " + p_.where + " another model's?");
    }
    w.pieces = std::move(pieces);
    return w;
  }

  const MetaParams& p_;
  std::vector<MetaShard>& shards_;
  NamedWeights& out_;
  const std::uint64_t n_;
};

}  // namespace

MetaParams read_meta_params(const Json& json, const std::string& where) {
  const JsonFields fields(json, where);
  MetaParams p;
  p.where = where;
  p.dim = need_count(fields, "dim");
  p.layers = need_count(fields, "n_layers");
  p.heads = need_count(fields, "n_heads");
  if (p.dim % p.heads != 0) fields.refuse("n_heads", "a divisor of dim " + std::to_string(p.dim));
  p.kv_heads = fields.find("n_kv_heads") ? need_count(fields, "n_kv_heads") : p.heads;
  if (p.heads % p.kv_heads != 0) fields.refuse("n_kv_heads", "a divisor of n_heads " + std::to_string(p.heads));
  const Json* vocab = fields.find("vocab_size");
  if (vocab && vocab->number() != -1.0) p.vocab = need_count(fields, "vocab_size");
  if (fields.find("max_seq_len")) p.context = need_count(fields, "max_seq_len");
  p.norm_epsilon = fields.number("norm_eps").value_or(1e-5);
  p.rope_theta = fields.number("rope_theta").value_or(10000.0);
  if (fields.boolean("use_scaled_rope").value_or(false)) fields.refuse("use_scaled_rope", "false", Code::unsupported);
  for (const char* key : {"moe", "quantization_args", "lora_args", "vision_chunk_size"})
    if (const Json* value = fields.find(key); value && !(value->number() == -1.0))
      fields.refuse(key, "absent", Code::unsupported);
  return p;
}

std::optional<Json> checkpoint_params(const TorchCheckpoint& checkpoint, const std::string& key) {
  const std::string prefix = key + ".";
  Json::Members members;
  for (const auto& [name, value] : checkpoint.scalars()) {
    if (!name.starts_with(prefix) || name.find('.', prefix.size()) != std::string::npos) continue;
    Json json;
    if (const auto* b = std::get_if<bool>(&value)) json = Json(*b);
    if (const auto* d = std::get_if<double>(&value)) json = Json(*d);
    if (const auto* s = std::get_if<std::string>(&value)) json = Json(*s);
    if (const auto* n = std::get_if<std::int64_t>(&value))
      json = *n >= 0 ? Json(static_cast<std::uint64_t>(*n)) : Json(*n);
    members.push_back({name.substr(prefix.size()), std::move(json)});
  }
  const auto less = [](const JsonMember& a, const JsonMember& b) { return a.key < b.key; };
  std::stable_sort(members.begin(), members.end(), less);
  Json out(std::move(members));
  return out.find("dim") && out.find("n_layers") ? std::optional(std::move(out)) : std::nullopt;
}

std::unique_ptr<WeightSource> make_meta_model(const MetaParams& params, std::vector<MetaShard> shards,
                                              NamedWeights::Data data) {
  Hyperparameters h;
  h.dim = params.dim;
  h.layers = params.layers;
  h.heads = params.heads;
  h.kv_heads = params.kv_heads;
  h.norm_epsilon = params.norm_epsilon;
  h.rope_theta = params.rope_theta;
  h.context = params.context != 0 ? params.context : guess_context(params);
  auto out = std::make_unique<NamedWeights>(std::move(data));
  Builder(params, shards, *out).run(h);
  out->set_hyperparameters(h);
  return out;
}

}  // namespace puna::io
