#include "puna/io/meta_folder.hpp"

#include <algorithm>
#include <map>

#include "hf_model.hpp"
#include "meta_model.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/torch_checkpoint.hpp"

namespace puna {
namespace {

using io::add_tensor;
using io::MetaShard;
using io::NamedWeights;

// The number in "consolidated.NN.pth".
std::optional<std::size_t> shard_number(std::string_view name) {
  constexpr std::string_view head = "consolidated.", tail = ".pth";
  if (name.size() != head.size() + 2 + tail.size() || !name.starts_with(head) || !name.ends_with(tail))
    return std::nullopt;
  const char tens = name[head.size()], ones = name[head.size() + 1];
  if (tens < '0' || tens > '9' || ones < '0' || ones > '9') return std::nullopt;
  return static_cast<std::size_t>((tens - '0') * 10 + (ones - '0'));
}

// The shards' names in order, 00 first and none left out.
std::vector<std::string> find_shards(const std::string& folder) {
  std::vector<std::string> out;
  for (const std::string& name : list_folder(folder)) {  // sorted
    const auto number = shard_number(name);
    if (!number) continue;
    if (*number != out.size())
      fail(Code::format, path_join(folder, name) + ": shard " + std::to_string(*number) + ", but shard " +
                             std::to_string(out.size()) + " is missing");
    out.push_back(name);
  }
  return out;
}

// Something beside a file, when it was opened by a path and that is there.
std::optional<std::string> find_beside(const File& file, const char* name) {
  if (file.path().empty()) return std::nullopt;
  std::string path = path_join(path_folder(file.path()), name);
  return path_exists(path) ? std::optional(std::move(path)) : std::nullopt;
}

// A folder's one checkpoint under another name.
std::string find_only_checkpoint(const std::string& folder) {
  std::string found;
  for (const std::string& name : list_folder(folder)) {
    if (!name.ends_with(".pth") && !name.ends_with(".pt")) continue;
    if (!found.empty()) fail(Code::format, folder + ": no consolidated.00.pth, but several other checkpoints");
    found = path_join(folder, name);
  }
  if (found.empty()) fail(Code::format, folder + ": no consolidated.00.pth in this folder");
  return found;
}

VocabSource find_vocab(const std::string& folder) {
  VocabSource out;
  for (const std::string& place : {folder, path_join(folder, "..")}) {
    const std::string path = path_join(place, "tokenizer.model");
    if (!path_exists(path)) continue;
    out.kind = VocabSource::Kind::spm_model;
    out.file = File::open(path);
    break;
  }
  return out;
}

Json read_params_file(const std::string& path) {
  JsonLimits limits;
  limits.bytes = std::size_t{1} << 20;
  return read_json_file(path, limits);
}

// No folder: no vocabulary.
NamedWeights::Data make_data(const std::string& name, const std::string& folder, const Json& params) {
  NamedWeights::Data data;
  data.format = "torch";
  data.name = name;
  if (!folder.empty()) data.vocab = find_vocab(folder);
  io::list_json(params, "", data.metadata);
  return data;
}

// What stands before the names that a network's part is known by: "model." where a checkpoint nests it.
std::optional<std::string> find_prefix(const TorchCheckpoint& checkpoint, std::string_view tail) {
  std::optional<std::string> best;
  for (const StoredTensor& t : checkpoint.tensors()) {
    if (!t.name.ends_with(tail)) continue;
    std::string prefix = t.name.substr(0, t.name.size() - tail.size());
    if (!prefix.empty() && prefix.back() != '.') continue;
    if (!best || prefix.size() < best->size()) best = std::move(prefix);
  }
  return best;
}

std::unique_ptr<WeightSource> open_meta_checkpoint(const TorchCheckpoint& checkpoint, const std::string& prefix) {
  const std::string& name = checkpoint.file()->name();
  const std::string& path = checkpoint.file()->path();
  std::optional<Json> params;
  std::string where;
  // What the checkpoint itself says is about it for certain.
  for (const char* key : {"model_args", "params", "config"}) {
    where = name + ": " + key;
    if ((params = io::checkpoint_params(checkpoint, key))) break;
  }
  if (!params) {
    const auto beside = find_beside(*checkpoint.file(), "params.json");
    if (!beside) fail(Code::format, name + ": no params.json beside it, and no model_args within");
    where = *beside;
    params = read_params_file(where);
  }
  NamedWeights::Data data = make_data(name, path.empty() ? path : path_folder(path), *params);
  data.files.push_back(checkpoint.file());
  MetaShard shard{name, {}};
  for (const StoredTensor& t : checkpoint.tensors())
    if (t.name.starts_with(prefix)) add_tensor(shard.tensors, t.name.substr(prefix.size()), t);
  std::vector<MetaShard> shards;
  shards.push_back(std::move(shard));
  return io::make_meta_model(io::read_meta_params(*params, where), std::move(shards), std::move(data));
}

// Replaces the shapes of a shard's pieces by the whole tensors'.
void list_merged(const WeightSource& source, Listing& out) {
  std::map<std::string, const WeightInfo*> whole;
  for (int p = 0; p < part_count; ++p)
    for (std::uint32_t layer = 0; layer < source.hyperparameters().layers; ++layer)
      if (const WeightInfo* w = source.find(static_cast<Part>(p), layer)) whole[w->name] = w;
  for (TensorListing& t : out.tensors) {
    const auto at = whole.find(t.name);
    if (at == whole.end() || t.shape.size() != 2) continue;
    t.shape = {at->second->rows, at->second->columns};
    t.bytes = at->second->rows * row_bytes(at->second->type, at->second->columns);
  }
}

}  // namespace

std::unique_ptr<WeightSource> open_meta_folder(const std::string& path) {
  const std::vector<std::string> names = find_shards(path);
  if (names.empty()) return open_torch_file(File::open(find_only_checkpoint(path)));
  const std::string params_path = path_join(path, "params.json");
  if (!path_exists(params_path)) fail(Code::format, path + ": no params.json in this folder");
  const Json params = read_params_file(params_path);
  NamedWeights::Data data = make_data(path, path, params);
  std::vector<MetaShard> shards;
  for (const std::string& name : names) {
    const TorchCheckpoint checkpoint(File::open(path_join(path, name)));
    data.files.push_back(checkpoint.file());
    MetaShard shard{checkpoint.file()->name(), {}};
    for (const StoredTensor& t : checkpoint.tensors()) add_tensor(shard.tensors, t.name, t);
    shards.push_back(std::move(shard));
  }
  return io::make_meta_model(io::read_meta_params(params, params_path), std::move(shards), std::move(data));
}

std::unique_ptr<WeightSource> open_torch_file(std::shared_ptr<const File> file) {
  const std::string name = file->name();
  if (shard_number(path_name(file->path())) && find_beside(*file, "consolidated.01.pth"))
    return open_meta_folder(path_folder(file->path()));
  const TorchCheckpoint checkpoint(std::move(file));
  if (const auto prefix = find_prefix(checkpoint, "tok_embeddings.weight"))
    return open_meta_checkpoint(checkpoint, *prefix);
  auto prefix = find_prefix(checkpoint, "embed_tokens.weight");
  if (!prefix)
    fail(Code::unsupported, name + ": a torch checkpoint, but of no Llama: no tensor is called tok_embeddings.weight");
  if (prefix->ends_with("model.")) prefix->resize(prefix->size() - 6);
  if (!find_beside(*checkpoint.file(), "config.json"))
    fail(Code::format, name + ": tensors of a Hugging Face model, but no config.json beside it");
  io::HfTensors found;
  found.format = "torch";
  found.files.push_back(checkpoint.file());
  for (StoredTensor t : checkpoint.tensors()) {
    if (!t.name.starts_with(*prefix)) continue;
    t.name.erase(0, prefix->size());
    found.tensors.push_back(std::move(t));
  }
  return io::make_hf_model(path_folder(checkpoint.file()->path()), name, std::move(found));
}

Listing inspect_meta_folder(const std::string& path) {
  Listing out;
  out.format = "torch";
  std::vector<std::string> names = find_shards(path);
  if (names.empty()) names.push_back(path_name(find_only_checkpoint(path)));
  if (names.size() > 1) out.format += ", " + std::to_string(names.size()) + " shards";
  if (const auto params = path_join(path, "params.json"); path_exists(params))
    io::list_json(read_params_file(params), "", out.metadata);
  std::unique_ptr<WeightSource> source;
  try {
    source = open_meta_folder(path);
    out.hyperparameters = source->hyperparameters();
    out.tied = is_tied(*source);
  } catch (const Error&) {
    // Incomplete, or some other architecture: the listing is all there is.
  }
  for (const std::string& name : names) {
    const TorchCheckpoint checkpoint(File::open(path_join(path, name)));
    io::list_tensors(checkpoint.tensors(), out);
    if (source) break;  // the first shard has every name; what is cut is listed as it is when put together
  }
  if (source) list_merged(*source, out);
  return out;
}

}  // namespace puna
