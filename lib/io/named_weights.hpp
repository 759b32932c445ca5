// A weight source made of named tensors, in one file or several: what Hugging Face and Meta folders have in common.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "puna/io/json.hpp"
#include "puna/io/stored_tensor.hpp"
#include "puna/io/weight_source.hpp"

namespace puna::io {

using TensorMap = std::map<std::string, StoredTensor, std::less<>>;

// Adds the tensor under a name that a prefix may have been taken off; a name that is there already is refused.
void add_tensor(TensorMap& map, std::string name, const StoredTensor& tensor);
// The tensor, taken out of the map, of a type and rank that a weight can have; Error(format) naming `file` without it.
// `shown` stands before the name in that message.
StoredTensor take_tensor(TensorMap& map, std::string_view name, std::size_t rank, const std::string& file,
                         std::string_view shown = "");
// Refuses what is left in the map but belongs to a layer: ignoring it would change what the network computes.
void refuse_leftovers(const TensorMap& map);

// How the parts are called: Hugging Face's and Meta's tables have the same form.
struct PartNames {
  std::string_view token_embedding, output_norm, output;
  std::string_view attn_norm, wq, wk, wv, wo, ffn_norm, gate, up, down;  // below "layers.N."
  std::string name(Part part, std::uint64_t layer) const;
};

struct NamedWeight {
  WeightInfo info;
  std::vector<StoredTensor> pieces;  // of the shards, in order; equal shapes
  bool by_columns = false;           // pieces stand side by side, not one below the other
  std::uint64_t rotary_heads = 0;    // not 0: within each of so many heads the rows are two halves, not pairs
};

class NamedWeights final : public WeightSource {
 public:
  struct Data {
    std::string format, name;
    Hyperparameters hyperparameters;
    VocabSource vocab;
    std::vector<MetadataEntry> metadata;
    std::vector<std::shared_ptr<const File>> files;
  };
  explicit NamedWeights(Data data) : data_(std::move(data)) {}

  void set_hyperparameters(const Hyperparameters& h) { data_.hyperparameters = h; }
  // Refuses more bytes of weights than the files justify, which tensors that share their bytes could claim.
  void set(Part part, NamedWeight weight);

  std::string format() const override { return data_.format; }
  std::string name() const override { return data_.name; }
  const Hyperparameters& hyperparameters() const override { return data_.hyperparameters; }
  const WeightInfo* find(Part part, std::uint32_t layer) const override;
  const std::byte* borrow(Part part, std::uint32_t layer) const override;
  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override;
  VocabSource vocab() const override { return data_.vocab; }
  std::vector<MetadataEntry> metadata() const override { return data_.metadata; }
  std::vector<std::shared_ptr<const File>> files() const override { return data_.files; }

 private:
  const NamedWeight* weight(Part part, std::uint32_t layer) const;
  Data data_;
  std::vector<NamedWeight> parts_[part_count];
  std::uint64_t bytes_ = 0;
};

// True for two names of the same bytes: a tied head saved twice.
bool same_place(const StoredTensor& a, const StoredTensor& b);
void list_tensors(const std::vector<StoredTensor>& tensors, Listing& out);
// The values of a JSON object as metadata, keys of nested objects joined by dots, arrays as JSON.
void list_json(const Json& object, const std::string& path, std::vector<MetadataEntry>& out);

}  // namespace puna::io
