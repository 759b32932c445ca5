#include "named_weights.hpp"

#include <algorithm>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"

namespace puna::io {

void add_tensor(TensorMap& map, std::string name, const StoredTensor& tensor) {
  const auto [at, added] = map.try_emplace(std::move(name), tensor);
  if (added) return;
  const auto& before = at->second;
  fail(Code::format, tensor.file->name() + ": tensor " + puna::quoted(tensor.name) + " is also in " +
                         before.file->name() + " as " + puna::quoted(before.name));
}

StoredTensor take_tensor(TensorMap& map, std::string_view name, std::size_t rank, const std::string& file,
                         std::string_view shown) {
  const auto at = map.find(name);
  if (at == map.end())
    fail(Code::format, file + ": tensor " + puna::quoted(std::string(shown) + std::string(name)) + " is missing");
  StoredTensor tensor = std::move(map.extract(at).mapped());
  const std::string where = tensor.file->name() + ": tensor " + puna::quoted(tensor.name) + ": ";
  if (!tensor.dtype)
    fail(Code::unsupported, where + "type " + tensor.type + ", but a weight must be float32, float16 or bfloat16");
  if (tensor.shape.size() != rank)
    fail(Code::format, where + "shape " + shape_text(tensor.shape) + ", but must have " + std::to_string(rank) +
                           (rank == 1 ? " dimension" : " dimensions"));
  if (tensor.bytes == 0) fail(Code::format, where + "shape " + shape_text(tensor.shape) + " is empty");
  return tensor;
}

void refuse_leftovers(const TensorMap& map) {
  for (const auto& [name, tensor] : map) {
    if (!name.starts_with("layers.")) continue;
    if (name.ends_with("rotary_emb.inv_freq") || name.ends_with("rope.freqs")) continue;  // computed, not learnt
    fail(Code::unsupported, tensor.file->name() + ": tensor " + puna::quoted(tensor.name) +
                                " has no place in a Llama of this configuration");
  }
}

std::string PartNames::name(Part part, std::uint64_t layer) const {
  const auto of_layer = [&](std::string_view tail) {
    return "layers." + std::to_string(layer) + "." + std::string(tail) + ".weight";
  };
  switch (part) {
    case Part::token_embedding: return std::string(token_embedding) + ".weight";
    case Part::output_norm: return std::string(output_norm) + ".weight";
    case Part::output: return std::string(output) + ".weight";
    case Part::attn_norm: return of_layer(attn_norm);
    case Part::wq: return of_layer(wq);
    case Part::wk: return of_layer(wk);
    case Part::wv: return of_layer(wv);
    case Part::wo: return of_layer(wo);
    case Part::ffn_norm: return of_layer(ffn_norm);
    case Part::gate: return of_layer(gate);
    case Part::up: return of_layer(up);
    case Part::down: return of_layer(down);
  }
  return {};
}

void NamedWeights::set(Part part, NamedWeight weight) {
  std::uint64_t files = 0;
  for (const auto& file : data_.files) files += file->size();
  for (const StoredTensor& piece : weight.pieces) {
    bytes_ += piece.bytes;  // each at most its file's size
    if (bytes_ / 2 > files)
      fail(Code::format, data_.name + ": up to tensor " + puna::quoted(piece.name) + " the weights take " +
                             std::to_string(bytes_) + " bytes, more than files of " + std::to_string(files) +
                             " bytes justify");
  }
  parts_[static_cast<int>(part)].push_back(std::move(weight));
}

const NamedWeight* NamedWeights::weight(Part part, std::uint32_t layer) const {
  const auto& all = parts_[static_cast<int>(part)];
  return layer < all.size() ? &all[layer] : nullptr;
}

const WeightInfo* NamedWeights::find(Part part, std::uint32_t layer) const {
  const NamedWeight* w = weight(part, layer);
  return w ? &w->info : nullptr;
}

const std::byte* NamedWeights::borrow(Part part, std::uint32_t layer) const {
  const NamedWeight* w = weight(part, layer);
  return w && w->pieces.size() == 1 && w->rotary_heads == 0 ? tensor_in_place(w->pieces[0]) : nullptr;
}

namespace {

// Rows as they are stored, of all pieces.
void copy_stored(const NamedWeight& w, std::uint64_t row, std::uint64_t count, std::byte* dst) {
  const std::uint64_t packed = row_bytes(w.info.type, w.info.columns);
  if (w.by_columns) {
    const std::uint64_t part = packed / w.pieces.size();
    for (const StoredTensor& piece : w.pieces) {
      read_tensor_rows(piece, row, count, dst, packed);
      dst += part;
    }
    return;
  }
  const std::uint64_t each = w.pieces[0].rows();
  while (count > 0) {
    const std::uint64_t within = row % each;
    const std::uint64_t n = std::min(count, each - within);
    read_tensor_rows(w.pieces[static_cast<std::size_t>(row / each)], within, n, dst, packed);
    row += n;
    count -= n;
    dst += n * packed;
  }
}

}  // namespace

void NamedWeights::copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const {
  const NamedWeight* w = weight(part, layer);
  if (!w || row > w->info.rows || count > w->info.rows - row)
    fail(Code::internal, data_.name + ": rows that are not there");
  if (w->rotary_heads == 0) return copy_stored(*w, row, count, dst);
  // Meta's row 2j+s of a head is Hugging Face's row s*E/2+j.
  const std::uint64_t head = w->info.rows / w->rotary_heads;
  const std::uint64_t packed = row_bytes(w->info.type, w->info.columns);
  for (std::uint64_t r = row; r < row + count; ++r, dst += packed) {
    const std::uint64_t within = r % head;
    copy_stored(*w, r - within + within % 2 * (head / 2) + within / 2, 1, dst);
  }
}

bool same_place(const StoredTensor& a, const StoredTensor& b) {
  return a.file == b.file && a.offset == b.offset && a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides;
}

void list_tensors(const std::vector<StoredTensor>& tensors, Listing& out) {
  out.tensors.reserve(out.tensors.size() + tensors.size());
  for (const StoredTensor& t : tensors) out.tensors.push_back({as_utf8(t.name), t.type, t.shape, t.bytes});
}

void list_json(const Json& object, const std::string& path, std::vector<MetadataEntry>& out) {
  if (!object.members()) return;
  for (const auto& [key, value] : *object.members()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (value.is_null()) continue;
    if (value.members() && path.empty())
      list_json(value, name, out);
    else
      out.push_back({as_utf8(name), value.string() ? as_utf8(*value.string()) : value.dump(400)});
  }
}

}  // namespace puna::io
