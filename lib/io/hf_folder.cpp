#include "puna/io/hf_folder.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "hf_description.hpp"
#include "hf_model.hpp"
#include "named_weights.hpp"
#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/safetensors.hpp"
#include "puna/io/torch_checkpoint.hpp"

namespace puna {
namespace io {
namespace {

constexpr PartNames hf_names{
    .token_embedding = "embed_tokens", .output_norm = "norm", .output = "lm_head", .attn_norm = "input_layernorm",
    .wq = "self_attn.q_proj", .wk = "self_attn.k_proj", .wv = "self_attn.v_proj", .wo = "self_attn.o_proj",
    .ffn_norm = "post_attention_layernorm", .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj"};

// Takes the parts out of the tensors one by one, each with its shape checked.
class Builder {
 public:
  Builder(TensorMap& map, const std::string& name, Hyperparameters& h, NamedWeights& out)
      : map_(map), name_(name), h_(h), out_(out) {
    head_ = h.head_dim != 0 ? h.head_dim : h.dim / h.heads;
    if (head_ % 2 != 0) fail(Code::format, name + ": a head width of " + std::to_string(head_) + " cannot be rotated");
    q_ = h.heads * head_;  // each below 2^31
    kv_ = h.kv_heads * head_;
  }

  void run(std::optional<bool> tied) {
    embeddings(tied);
    for (std::uint64_t layer = 0; layer < h_.layers; ++layer) {
      vector(Part::attn_norm, layer);
      matrix(Part::wq, layer, q_, h_.dim, h_.heads);
      matrix(Part::wk, layer, kv_, h_.dim, h_.kv_heads);
      matrix(Part::wv, layer, kv_, h_.dim);
      matrix(Part::wo, layer, h_.dim, q_);
      vector(Part::ffn_norm, layer);
      matrix(Part::gate, layer, h_.ffn_dim, h_.dim);
      matrix(Part::up, layer, h_.ffn_dim, h_.dim);
      matrix(Part::down, layer, h_.dim, h_.ffn_dim);
    }
    vector(Part::output_norm, 0);
    refuse_leftovers(map_);
  }

 private:
  StoredTensor take(Part part, std::uint64_t layer, std::size_t rank) {
    return take_tensor(map_, hf_names.name(part, layer), rank, name_, part == Part::output ? "" : "model.");
  }
  void put(Part part, StoredTensor t, std::uint64_t rows, std::uint64_t columns, std::uint64_t rotary_heads = 0) {
    if (t.rows() != rows || t.columns() != columns) {
      const auto want = t.shape.size() == 1 ? std::vector{columns} : std::vector{rows, columns};
      fail(Code::format, t.file->name() + ": tensor " + puna::quoted(t.name) + ": shape " + shape_text(t.shape) +
                             ", but config.json makes it " + shape_text(want));
    }
    NamedWeight w;
    w.info = {t.name, *t.dtype, rows, columns};
    w.rotary_heads = rotary_heads;
    w.pieces.push_back(std::move(t));
    out_.set(part, std::move(w));
  }
  void vector(Part part, std::uint64_t layer) { put(part, take(part, layer, 1), 1, h_.dim); }
  void matrix(Part part, std::uint64_t layer, std::uint64_t rows, std::uint64_t columns, std::uint64_t rotary = 0) {
    put(part, take(part, layer, 2), rows, columns, rotary);
  }

  // A tied head is the embedding, under whichever of the two names it was stored.
  void embeddings(std::optional<bool> tied) {
    const bool has_head = map_.contains(hf_names.name(Part::output, 0));
    const bool has_embedding = map_.contains(hf_names.name(Part::token_embedding, 0));
    const bool head_serves = !has_embedding && has_head && tied.value_or(false);
    StoredTensor embedding = take(head_serves ? Part::output : Part::token_embedding, 0, 2);
    if (h_.vocab == 0) h_.vocab = embedding.rows();
    std::optional<StoredTensor> head;
    if (!head_serves && (has_head || tied == false)) head = take(Part::output, 0, 2);
    if (tied.value_or(false) || (head && same_place(*head, embedding))) head.reset();
    put(Part::token_embedding, std::move(embedding), h_.vocab, h_.dim);
    if (head) put(Part::output, std::move(*head), h_.vocab, h_.dim);
  }

  TensorMap& map_;
  const std::string& name_;
  Hyperparameters& h_;
  NamedWeights& out_;
  std::uint64_t head_ = 0, q_ = 0, kv_ = 0;
};

void read_shard(const std::string& path, bool torch, HfTensors& out) {
  auto file = File::open(path);
  out.files.push_back(file);
  if (torch) {
    const TorchCheckpoint checkpoint(std::move(file));
    out.tensors.insert(out.tensors.end(), checkpoint.tensors().begin(), checkpoint.tensors().end());
  } else {
    const SafetensorsFile parsed(std::move(file));
    out.tensors.insert(out.tensors.end(), parsed.tensors().begin(), parsed.tensors().end());
    for (const auto& [key, value] : parsed.metadata())
      out.metadata.push_back({"__metadata__." + as_utf8(key), as_utf8(value)});
  }
}

// Every shard of the index, and of each what the index says it holds.
void read_index(const std::string& folder, const std::string& index, bool torch, HfTensors& out) {
  JsonLimits limits;
  limits.bytes = std::size_t{64} << 20;
  const auto map = read_weight_map(read_json_file(index, limits), index);
  std::map<std::string, std::size_t> claimed;
  for (const auto& [tensor, shard] : map) ++claimed[shard];
  const auto shard_of = [&](const std::string& tensor) -> const std::string* {
    const auto less = [](const auto& entry, const std::string& name) { return entry.first < name; };
    const auto at = std::lower_bound(map.begin(), map.end(), tensor, less);  // sorted, as JSON members are
    return at != map.end() && at->first == tensor ? &at->second : nullptr;
  };
  for (const auto& claim : claimed) {
    const std::string& shard = claim.first;
    HfTensors found;
    read_shard(path_join(folder, shard), torch, found);
    std::erase_if(found.tensors, [&](const StoredTensor& t) {
      const std::string* owner = shard_of(t.name);
      return !owner || *owner != shard;
    });
    if (found.tensors.size() != claim.second) {
      std::set<std::string_view> there;
      for (const StoredTensor& t : found.tensors) there.insert(t.name);
      for (const auto& [tensor, owner] : map)
        if (owner == shard && !there.contains(tensor))
          fail(Code::format, path_join(folder, shard) + ": tensor " + puna::quoted(tensor) +
                                 " is missing, though the index places it there");
    }
    out.files.push_back(found.files[0]);
    out.tensors.insert(out.tensors.end(), found.tensors.begin(), found.tensors.end());
    if (out.metadata.empty()) out.metadata = std::move(found.metadata);
  }
}

HfTensors read_folder(const std::string& folder) {
  HfTensors out;
  const auto at = [&](const char* name) { return path_join(folder, name); };
  out.format = "safetensors";
  if (path_exists(at("model.safetensors"))) return read_shard(at("model.safetensors"), false, out), out;
  if (const auto index = at("model.safetensors.index.json"); path_exists(index))
    return read_index(folder, index, false, out), out;
  out.format = "torch";
  if (path_exists(at("pytorch_model.bin"))) return read_shard(at("pytorch_model.bin"), true, out), out;
  if (const auto index = at("pytorch_model.bin.index.json"); path_exists(index))
    return read_index(folder, index, true, out), out;
  // Some people name the one file as they like.
  std::vector<std::string> others;
  for (const std::string& name : list_folder(folder))
    if (name.ends_with(".safetensors") && !name.starts_with("adapter_")) others.push_back(name);
  if (others.size() != 1)
    fail(Code::format, folder + ": no model.safetensors, pytorch_model.bin, or index of either's shards");
  out.format = "safetensors";
  read_shard(path_join(folder, others[0]), false, out);
  return out;
}

}  // namespace

std::string hf_tensor_name(Part part, std::uint32_t layer) {
  return (part == Part::output ? "" : "model.") + hf_names.name(part, layer);
}

std::unique_ptr<WeightSource> make_hf_model(const std::string& folder, const std::string& name, HfTensors found) {
  const std::string config_path = path_join(folder, "config.json");
  JsonLimits limits;
  limits.bytes = std::size_t{1} << 20;
  const Json json = read_json_file(config_path, limits);
  const HfConfig config = read_hf_config(json, config_path);

  TensorMap map;
  constexpr std::string_view prefix = "model.";
  for (const StoredTensor& t : found.tensors)
    add_tensor(map, t.name.starts_with(prefix) ? t.name.substr(prefix.size()) : t.name, t);
  NamedWeights::Data data;
  data.format = found.format;
  data.name = name;
  data.files = std::move(found.files);
  data.vocab = find_hf_vocab(folder, json, config_path);
  list_json(json, "", data.metadata);
  data.metadata.insert(data.metadata.end(), found.metadata.begin(), found.metadata.end());

  auto out = std::make_unique<NamedWeights>(std::move(data));
  Hyperparameters h = config.hyperparameters;
  Builder(map, name, h, *out).run(config.tied);
  out->set_hyperparameters(h);
  return out;
}

}  // namespace io

std::unique_ptr<WeightSource> open_hf_folder(const std::string& path) {
  if (!path_exists(path_join(path, "config.json"))) fail(Code::format, path + ": no config.json in this folder");
  return io::make_hf_model(path, path, io::read_folder(path));
}

Listing inspect_hf_folder(const std::string& path) {
  io::HfTensors found = io::read_folder(path);
  Listing out;
  out.format = found.format;
  if (found.files.size() > 1) out.format += ", " + std::to_string(found.files.size()) + " shards";
  if (const auto config = path_join(path, "config.json"); path_exists(config))
    io::list_json(read_json_file(config), "", out.metadata);
  out.metadata.insert(out.metadata.end(), found.metadata.begin(), found.metadata.end());
  io::list_tensors(found.tensors, out);
  try {
    const auto source = io::make_hf_model(path, path, std::move(found));
    out.hyperparameters = source->hyperparameters();
    out.tied = is_tied(*source);
  } catch (const Error&) {
    // Some other architecture, or an incomplete folder: the listing is all there is.
  }
  return out;
}

}  // namespace puna
