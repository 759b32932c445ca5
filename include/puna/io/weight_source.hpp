// What a model is built from, whatever the container: hyperparameters, tensors by their part in the network, the
// vocabulary and the metadata. The model does not know which file format it came from.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "puna/io/file.hpp"
#include "puna/tensor/dtype.hpp"

namespace puna {

// As the file says it; nn/config.hpp checks the values and derives the rest. An absent optional means the format's own
// default does not settle it.
struct Hyperparameters {
  std::string architecture = "llama";
  std::uint64_t dim = 0;
  std::uint64_t ffn_dim = 0;
  std::uint64_t layers = 0;
  std::uint64_t heads = 0;
  std::uint64_t kv_heads = 0;
  std::uint64_t head_dim = 0;  // 0: dim / heads
  std::uint64_t vocab = 0;
  std::uint64_t context = 0;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  enum class RopeScaling : std::int32_t { none = 0, linear = 1, dynamic = 2, yarn = 3 };
  RopeScaling rope_scaling = RopeScaling::none;
  double rope_factor = 1.0;
  std::uint64_t rope_original_context = 0;  // 0: context
  double yarn_beta_fast = 32.0;
  double yarn_beta_slow = 1.0;
  double yarn_attention_factor = 0.0;  // 0: 0.1 * ln(factor) + 1
};

// The tensors of a Llama. Per-layer parts take a layer, the others layer 0.
enum class Part : std::int32_t { token_embedding, attn_norm, wq, wk, wv, wo, ffn_norm, gate, up, down, output_norm, output };
inline constexpr int part_count = 12;
constexpr bool part_is_per_layer(Part p) { return p >= Part::attn_norm && p <= Part::down; }
std::string_view part_name(Part p);  // "attn_q" and the like, as GGUF spells it

struct WeightInfo {
  std::string name;  // as the container spells it, for messages
  DType type = DType::f32;
  std::uint64_t rows = 0;     // a vector has one row
  std::uint64_t columns = 0;  // the contiguous, input axis
  std::uint32_t pack = 0;     // rows that stand side by side, as tensor/pack.hpp lays them; 0: one after the other
};

// Whether a model for kernels of `pack` rows holds this matrix packed. An embedding of its own is only looked up, row by row.
constexpr bool packs(Part part, DType type, std::uint32_t pack, bool tied) {
  return pack != 0 && info(type).quantized() && (part != Part::token_embedding || tied);
}

// A tokenizer.json merges by the rank of a pair, which sentencepiece's one score per piece cannot always say.
struct MergeRules {
  std::vector<std::array<std::int32_t, 2>> merges;  // ids of the left and the right piece, best first
  bool split_words = false;          // nothing merges over the beginning of a word
  bool fuse_unknown = true;          // a run of unknown characters is one token
  bool prefix_unless_space = false;  // the space before a text is left out where the text begins with one
  bool prefix_once = false;          // only the very beginning of a text gets one, no part after an added token
};

// A vocabulary as plain arrays, checked by text/ before anything is built from it.
struct VocabData {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<std::int32_t> types;  // sentencepiece's: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::int32_t bos = 1, eos = 2, unknown = 0, pad = -1;
  std::int32_t prefix = -1, suffix = -1, middle = -1, eot = -1;  // Code Llama's infill tokens
  bool add_bos = true, add_eos = false, add_space_prefix = true, remove_extra_whitespaces = false;
  std::string unknown_surface = " \xE2\x81\x87 ";  // what an unknown token decodes to
  std::shared_ptr<const MergeRules> merge_rules;    // a tokenizer.json's; null: scores decide, as in sentencepiece
  std::string chat_template;  // the file's template text: recognised, never executed
};

struct VocabSource {
  enum class Kind { none, arrays, spm_model, hf_json, llama2c };
  Kind kind = Kind::none;
  VocabData arrays;                  // Kind::arrays; for the others only what the container says beside the file
  std::shared_ptr<const File> file;  // tokenizer.model, tokenizer.json or tokenizer.bin
};

struct MetadataEntry {
  std::string key;
  std::string value;  // as text; arrays as JSON, long ones cut with a count
};

class WeightSource;
bool is_tied(const WeightSource& source);  // embedding and head are one matrix

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual std::string format() const = 0;  // "GGUF v3", "safetensors", "torch", "llama2.c v0"
  virtual std::string name() const = 0;    // the path
  virtual const Hyperparameters& hyperparameters() const = 0;
  virtual const WeightInfo* find(Part part, std::uint32_t layer) const = 0;  // null when absent
  // Rows in Meta's order, in place, row_bytes(type, columns) apart; null when they must be copied.
  virtual const std::byte* borrow(Part part, std::uint32_t layer) const = 0;
  // Borrowed rows [row, row + count) are no longer needed: their memory may be given back.
  virtual void give_back(Part, std::uint32_t, std::uint64_t row, std::uint64_t count) const noexcept { (void)row, (void)count; }
  // Rows [row, row + count) in Meta's order and the info's type, packed, to dst.
  virtual void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const = 0;
  virtual VocabSource vocab() const = 0;
  virtual std::vector<MetadataEntry> metadata() const = 0;
  // The container itself when it is a GGUF, so that a copy can keep all that it says.
  virtual const class Gguf* gguf() const { return nullptr; }
  // Files behind it, for SHA-256 and sizes.
  virtual std::vector<std::shared_ptr<const File>> files() const = 0;
};

// Recognises the container by its bytes, not its name: a GGUF, a Hugging Face folder, a Meta folder or .pth, a llama2.c
// .bin. Throws Error(format | unsupported | io) naming file, field and value. What is returned is complete: every tensor
// of every layer is there with the shape that the hyperparameters say (io/check_weights.hpp); output may be absent, tied.
std::unique_ptr<WeightSource> open_weights(const std::string& path);
std::unique_ptr<WeightSource> open_weights(std::shared_ptr<const File> file);  // single-file containers

// What a container holds, from its header alone, whatever the architecture: for `inspect`.
struct TensorListing {
  std::string name;
  std::string type;  // the container's spelling: "Q4_K", "BF16", "torch.float16"
  std::vector<std::uint64_t> shape;  // outermost first
  std::uint64_t bytes = 0;
};
struct Listing {
  std::string format;
  std::vector<MetadataEntry> metadata;
  std::vector<TensorListing> tensors;
  std::optional<Hyperparameters> hyperparameters;  // when it is a Llama this library could load
  bool tied = false;                               // then: embedding and head are one matrix
};
Listing inspect(const std::string& path);
Listing inspect(std::shared_ptr<const File> file);

}  // namespace puna
