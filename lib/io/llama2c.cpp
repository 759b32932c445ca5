#include "puna/io/llama2c.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/reader.hpp"
#include "puna/tensor/blocks.hpp"

namespace puna {
namespace {

constexpr std::uint32_t magic = 0x616b3432;  // "24ka" in the file
constexpr std::uint64_t header_bytes = 256;  // of v1 and v2
constexpr std::uint64_t header_bytes_v0 = 7 * 4;

// run.c's names.
constexpr std::string_view names[part_count] = {"token_embedding_table", "rms_att_weight", "wq", "wk", "wv", "wo",
                                                "rms_ffn_weight", "w1", "w3", "w2", "rms_final_weight", "wcls"};

// One part of all layers: `count` matrices, one after another.
struct Section {
  std::uint64_t offset = 0;
  std::uint64_t stride = 0;  // from layer to layer
  bool grouped = false;      // int8 codes of the whole matrix, then its scales
  WeightInfo info;           // the same for every layer
};

class Llama2c final : public WeightSource {
 public:
  explicit Llama2c(std::shared_ptr<const File> file) : file_(std::move(file)) {
    read_header();
    place_sections();
  }

  std::string format() const override { return "llama2.c v" + std::to_string(version_); }
  std::string name() const override { return file_->name(); }
  const Hyperparameters& hyperparameters() const override { return h_; }

  const WeightInfo* find(Part part, std::uint32_t layer) const override {
    const std::uint64_t count = part_is_per_layer(part) ? h_.layers : part == Part::output && shared_ ? 0 : 1;
    return layer < count ? &section(part).info : nullptr;
  }

  const std::byte* borrow(Part part, std::uint32_t layer) const override {
    const Section& s = section(part);
    if (!file_->data() || s.grouped || !find(part, layer)) return nullptr;
    return file_->data() + s.offset + layer * s.stride;
  }

  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override {
    const WeightInfo* w = find(part, layer);
    if (!w || row > w->rows || count > w->rows - row)
      fail(Code::internal, name() + ": rows " + std::to_string(row) + " + " + std::to_string(count) + " of " +
                               std::string(names[static_cast<std::size_t>(part)]) + " are not there to copy");
    const Section& s = section(part);
    const std::uint64_t start = s.offset + layer * s.stride;
    if (s.grouped) return copy_grouped(s, start, row, count, dst);
    const std::uint64_t bytes = row_bytes(w->type, w->columns);
    file_->read(start + row * bytes, dst, size_product(count, bytes));
  }

  VocabSource vocab() const override {
    VocabSource source;
    if (file_->path().empty()) return source;
    const std::string folder = path_folder(file_->path());
    const std::string bin = path_join(folder, "tokenizer.bin");
    const std::string model = path_join(folder, "tokenizer.model");
    if (path_exists(bin)) {
      source.kind = VocabSource::Kind::llama2c;
      source.file = File::open(bin);
    } else if (path_exists(model)) {
      source.kind = VocabSource::Kind::spm_model;
      source.file = File::open(model);
    }
    return source;
  }

  std::vector<MetadataEntry> metadata() const override {
    std::vector<MetadataEntry> all{{"version", std::to_string(version_)},
                                   {"dim", std::to_string(h_.dim)},
                                   {"hidden_dim", std::to_string(h_.ffn_dim)},
                                   {"n_layers", std::to_string(h_.layers)},
                                   {"n_heads", std::to_string(h_.heads)},
                                   {"n_kv_heads", std::to_string(h_.kv_heads)},
                                   {"vocab_size", std::to_string(h_.vocab)},
                                   {"max_seq_len", std::to_string(h_.context)},
                                   {"shared_classifier", shared_ ? "true" : "false"}};
    if (version_ == 2) all.push_back({"group_size", std::to_string(group_)});
    return all;
  }

  std::vector<std::shared_ptr<const File>> files() const override { return {file_}; }

  Listing list() const {
    Listing listing{format(), metadata(), {}, h_, is_tied(*this)};
    for (const Part part : order()) {
      const Section& s = section(part);
      const std::uint64_t count = part_is_per_layer(part) ? h_.layers : 1;
      TensorListing row{
          s.info.name, s.grouped ? "int8, groups of " + std::to_string(group_) : "float32", {}, count * s.stride};
      if (part_is_per_layer(part)) row.shape.push_back(h_.layers);
      if (!is_norm(part)) row.shape.push_back(s.info.rows);
      row.shape.push_back(s.info.columns);
      listing.tensors.push_back(std::move(row));
    }
    return listing;
  }

 private:
  const Section& section(Part part) const { return sections_[static_cast<std::size_t>(part)]; }

  std::uint64_t positive(Reader& r, const char* field) {
    const auto value = r.get<std::int32_t>(field);
    if (value <= 0) r.refuse(field, std::to_string(value) + " is not positive", r.position() - 4);
    return static_cast<std::uint64_t>(value);
  }

  void read_header() {
    Reader r(*file_);
    if (looks_like_llama2c(*file_)) {
      r.skip(4, "magic");
      version_ = r.get<std::int32_t>("version");
      if (version_ != 1 && version_ != 2)
        fail(Code::unsupported,
             name() + ": version " + std::to_string(version_) + ": only llama2.c v0, v1 and v2 are known");
    }
    h_.dim = positive(r, "dim");
    h_.ffn_dim = positive(r, "hidden_dim");
    h_.layers = positive(r, "n_layers");
    h_.heads = positive(r, "n_heads");
    h_.kv_heads = positive(r, "n_kv_heads");
    const auto vocab = std::int64_t{r.get<std::int32_t>("vocab_size")};
    if (vocab == 0 || (vocab < 0 && version_ != 0))
      r.refuse("vocab_size", std::to_string(vocab) + " is not positive", r.position() - 4);
    h_.vocab = static_cast<std::uint64_t>(vocab < 0 ? -vocab : vocab);
    shared_ = vocab > 0;  // v0 says so by the sign
    h_.context = positive(r, "max_seq_len");
    if (version_ != 0) {
      const auto flag = r.get<std::uint8_t>("shared_classifier");
      if (flag > 1) r.refuse("shared_classifier", std::to_string(flag) + " is neither 0 nor 1", r.position() - 1);
      shared_ = flag == 1;
    }
    if (version_ == 2) group_ = positive(r, "group_size");
    const std::uint64_t fields = version_ == 0 ? 0 : 8;
    if (h_.dim % h_.heads != 0)
      r.refuse("n_heads", std::to_string(h_.heads) + " does not divide the dim " + std::to_string(h_.dim), fields + 12);
    if (h_.heads % h_.kv_heads != 0)
      r.refuse("n_kv_heads", std::to_string(h_.kv_heads) + " does not divide the n_heads " + std::to_string(h_.heads),
               fields + 16);
  }

  // Sums that are past 64 bits stay at the largest number, which no file's size is.
  static std::uint64_t add(std::uint64_t a, std::uint64_t b) {
    return checked_add(a, b).value_or(std::numeric_limits<std::uint64_t>::max());
  }
  static std::uint64_t mul(std::uint64_t a, std::uint64_t b) {
    return checked_mul(a, b).value_or(std::numeric_limits<std::uint64_t>::max());
  }

  WeightInfo shape(Part part) const {
    const std::uint64_t kv = h_.dim / h_.heads * h_.kv_heads;
    switch (part) {
      case Part::token_embedding: case Part::output: return {{}, DType::f32, h_.vocab, h_.dim};
      case Part::wq: case Part::wo: return {{}, DType::f32, h_.dim, h_.dim};
      case Part::wk: case Part::wv: return {{}, DType::f32, kv, h_.dim};
      case Part::gate: case Part::up: return {{}, DType::f32, h_.ffn_dim, h_.dim};
      case Part::down: return {{}, DType::f32, h_.dim, h_.ffn_dim};
      default: return {{}, DType::f32, 1, h_.dim};
    }
  }

  static bool is_norm(Part p) { return p == Part::attn_norm || p == Part::ffn_norm || p == Part::output_norm; }

  // In the order of the file; what stands where is all that tells the versions apart.
  std::vector<Part> order() const {
    std::vector<Part> parts;
    if (version_ == 0)
      parts = {Part::token_embedding, Part::attn_norm, Part::wq, Part::wk, Part::wv, Part::wo,
               Part::ffn_norm, Part::gate, Part::down, Part::up, Part::output_norm};
    else
      parts = {Part::attn_norm, Part::ffn_norm, Part::output_norm, Part::token_embedding, Part::wq, Part::wk,
               Part::wv, Part::wo, Part::gate, Part::down, Part::up};
    if (!shared_) parts.push_back(Part::output);
    return parts;
  }

  void place_sections() {
    std::uint64_t at = version_ == 0 ? header_bytes_v0 : header_bytes;
    for (const Part part : order()) {
      // v0 keeps two tables of rotations, [seq][head/2], before an untied classifier.
      if (version_ == 0 && part == Part::output) at = add(at, rotation_bytes());
      Section& s = sections_[static_cast<std::size_t>(part)];
      s.info = shape(part);
      s.info.name = names[static_cast<std::size_t>(part)];
      s.offset = at;
      const std::uint64_t elements = mul(s.info.rows, s.info.columns);
      s.stride = mul(elements, 4);
      if (version_ == 2 && !is_norm(part)) {
        s.grouped = true;
        if (elements % group_ != 0)
          fail(Code::format, name() + ": group_size " + std::to_string(group_) + " does not divide the " +
                                 std::to_string(elements) + " elements of " + s.info.name);
        s.stride = add(elements, mul(elements / group_, 4));
        // Whole blocks of 32 inside a group keep their codes; anything else becomes f32, exactly.
        if (group_ % block_small == 0 && s.info.columns % block_small == 0) s.info.type = DType::q8_f32;
      }
      at = add(at, mul(s.stride, part_is_per_layer(part) ? h_.layers : 1));
    }
    if (version_ == 0 && shared_) at = add(at, rotation_bytes());
    if (at != file_->size())
      fail(Code::format, name() + ": a " + format() + " file with dim " + std::to_string(h_.dim) + ", hidden_dim " +
                             std::to_string(h_.ffn_dim) + ", n_layers " + std::to_string(h_.layers) +
                             " and vocab_size " + std::to_string(h_.vocab) + " has " + std::to_string(at) +
                             " bytes, this one " + std::to_string(file_->size()));
  }

  std::uint64_t rotation_bytes() const { return mul(mul(h_.context, h_.dim / h_.heads / 2), 2 * 4); }

  // A matrix's codes come first and its scales after them; element i has scale i / group.
  void copy_grouped(const Section& s, std::uint64_t start, std::uint64_t row, std::uint64_t count,
                    std::byte* dst) const {
    const std::uint64_t columns = s.info.columns;
    const std::uint64_t scales = start + s.info.rows * columns;
    constexpr std::uint64_t step = 4096;  // elements at a time, a multiple of a block
    std::array<std::int8_t, step> codes;
    std::vector<float> scale;
    const std::uint64_t end = (row + count) * columns;
    for (std::uint64_t i = row * columns; i < end; i += step) {
      const auto n = static_cast<std::size_t>(std::min(step, end - i));
      file_->read(start + i, codes.data(), n);
      const std::uint64_t first = i / group_;
      scale.resize(static_cast<std::size_t>((i + n - 1) / group_ - first + 1));
      file_->read(scales + first * 4, scale.data(), scale.size() * 4);
      const auto scale_of = [&](std::uint64_t element) {
        return scale[static_cast<std::size_t>(element / group_ - first)];
      };
      if (s.info.type == DType::q8_f32) {
        for (std::size_t j = 0; j < n; j += block_small, dst += sizeof(BlockQ8F32)) {
          const float d = scale_of(i + j);
          std::memcpy(dst, &d, sizeof d);
          std::memcpy(dst + sizeof d, codes.data() + j, block_small);
        }
      } else {
        for (std::size_t j = 0; j < n; ++j, dst += sizeof(float)) {
          const float x = static_cast<float>(codes[j]) * scale_of(i + j);
          std::memcpy(dst, &x, sizeof x);
        }
      }
    }
  }

  std::shared_ptr<const File> file_;
  Hyperparameters h_;
  std::int32_t version_ = 0;
  bool shared_ = true;
  std::uint64_t group_ = 0;
  std::array<Section, part_count> sections_;
};

}  // namespace

bool looks_like_llama2c(const File& file) {
  if (file.size() < 4) return false;
  std::byte bytes[4];
  file.read(0, bytes, 4);
  return load_le<std::uint32_t>(bytes) == magic;
}

std::unique_ptr<WeightSource> open_llama2c(std::shared_ptr<const File> file) {
  return std::make_unique<Llama2c>(std::move(file));
}

Listing inspect_llama2c(std::shared_ptr<const File> file) { return Llama2c(std::move(file)).list(); }

}  // namespace puna
