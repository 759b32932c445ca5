// A Hugging Face folder: safetensors in one file or in shards, the configuration and the tokenizer's files.
#include <algorithm>
#include <cstdio>

#include "gguf_layout.hpp"
#include "hf_description.hpp"
#include "json_text.hpp"
#include "puna/base/checked.hpp"
#include "puna/io/atomic_file.hpp"
#include "puna/io/weight_sink.hpp"
#include "safetensors_sink.hpp"

namespace puna {
namespace {

constexpr std::uint64_t usual_shard_bytes = 5'000'000'000;

bool is_vector(Part part) { return part == Part::attn_norm || part == Part::ffn_norm || part == Part::output_norm; }

struct Shard {
  std::size_t begin = 0, end = 0;  // of the tensors
  std::uint64_t bytes = 0;
  std::string name;
};

// Tensor after tensor into a shard until the next would not fit.
std::vector<Shard> cut(const std::vector<io::SafetensorsEntry>& entries, std::uint64_t limit) {
  std::vector<Shard> shards;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto grown = shards.empty() ? std::nullopt : checked_add(shards.back().bytes, entries[i].bytes);
    if (!grown || *grown > limit) shards.push_back({i, i, 0, {}});
    shards.back().end = i + 1;
    shards.back().bytes += entries[i].bytes;
  }
  for (std::size_t s = 0; s < shards.size(); ++s) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", s + 1, shards.size());
    shards[s].name = shards.size() == 1 ? "model.safetensors" : name;
  }
  return shards;
}

class HfSink final : public WeightSink {
 public:
  HfSink(const std::string& path, std::uint64_t shard_bytes)
      : path_(path), shard_bytes_(shard_bytes != 0 ? shard_bytes : usual_shard_bytes) {}

  void begin(const ModelDescription& model, std::span<const SinkTensor> tensors) override {
    if (folder_) fail(Code::internal, path_ + ": begun twice");
    tensors_.assign(tensors.begin(), tensors.end());
    announce(model);
    const bool tied = std::none_of(tensors_.begin(), tensors_.end(), [](const SinkTensor& t) { return t.part == Part::output; });
    const std::string tokenizer = model.vocab ? io::hf_tokenizer_name(model) : std::string();
    folder_ = std::make_unique<AtomicFolder>(path_);
    // What is small comes first, so that it cannot be what fails after an hour.
    write_text("config.json", io::hf_config_text(model, tied, main_type()));
    write_text("generation_config.json", io::hf_generation_config_text(model));
    if (model.vocab) {
      copy_file(tokenizer, *model.tokenizer);
      write_text("tokenizer_config.json", io::hf_tokenizer_config_text(model));
    }
    if (shards_.size() > 1) write_text("model.safetensors.index.json", index_text());
    metadata_ = {{"format", "pt"}};
    metadata_.insert(metadata_.end(), model.extra.begin(), model.extra.end());
  }

  void write(const std::byte* rows, std::size_t bytes) override {
    if (!folder_) fail(Code::internal, path_ + ": rows before begin");
    while (bytes != 0) {
      if (tensor_ == tensors_.size()) fail(Code::internal, path_ + ": more rows than were announced");
      if (done_ == 0) start_tensor();
      const std::uint64_t missing = entries_[tensor_].bytes - done_;
      const std::size_t step = missing < bytes ? static_cast<std::size_t>(missing) : bytes;
      take(rows, step);
      rows += step;
      bytes -= step;
      done_ += step;
      if (done_ == entries_[tensor_].bytes) end_tensor();
    }
  }

  void finish() override {
    if (!folder_ || tensor_ != tensors_.size()) fail(Code::internal, path_ + ": finished before all rows were there");
    folder_->commit();
  }

  std::uint64_t bytes_written() const override { return written_; }

 private:
  // Names, sizes and shards of everything, before anything is on the disk.
  void announce(const ModelDescription& model) {
    const Hyperparameters& h = model.hyperparameters;
    head_ = h.head_dim != 0 ? h.head_dim : h.heads != 0 ? h.dim / h.heads : 0;
    for (const SinkTensor& t : tensors_) {
      std::string name = io::hf_tensor_name(t.part, t.layer);
      if (io::safetensors_type(t.type).empty())
        fail(Code::unsupported, path_ + ": " + name + ": a Hugging Face folder holds F32, F16 and BF16, not " +
                                    std::string(info(t.type).name));
      const std::uint64_t bytes = io::sink_tensor_bytes(t, path_);
      if (is_rotary(t) && (head_ < 2 || head_ % 2 != 0 || t.rows % head_ != 0))
        fail(Code::internal, path_ + ": " + name + ": " + std::to_string(t.rows) + " rows are no heads of " +
                                 std::to_string(head_));
      if (is_vector(t.part) && t.rows != 1) fail(Code::internal, path_ + ": " + name + " is no vector");
      auto shape = is_vector(t.part) ? std::vector{t.columns} : std::vector{t.rows, t.columns};
      entries_.push_back({std::move(name), t.type, std::move(shape), bytes});
    }
    if (entries_.empty()) fail(Code::internal, path_ + ": a model without tensors");
    shards_ = cut(entries_, shard_bytes_);
  }

  static bool is_rotary(const SinkTensor& t) { return t.part == Part::wq || t.part == Part::wk; }

  DType main_type() const {
    for (const SinkTensor& t : tensors_)
      if (!is_vector(t.part)) return t.type;
    return tensors_.front().type;
  }

  std::string index_text() const {
    std::uint64_t total = 0;
    io::JsonText map;
    for (const Shard& shard : shards_) {
      total += shard.bytes;
      for (std::size_t i = shard.begin; i < shard.end; ++i) map.text(entries_[i].name, shard.name);
    }
    io::JsonText metadata, all;
    metadata.whole("total_size", total);
    all.raw("metadata", metadata.str(1));
    all.raw("weight_map", map.str(1));
    return all.str() + "\n";
  }

  void write_text(const std::string& name, const std::string& text) {
    AtomicFile file(folder_->member(name));
    file.write(text.data(), text.size());
    file.commit();
    written_ += text.size();
  }

  void copy_file(const std::string& name, const File& from) {
    AtomicFile file(folder_->member(name));
    std::vector<std::byte> piece(std::size_t{1} << 16);
    for (std::uint64_t at = 0; at < from.size();) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), from.size() - at));
      from.read(at, piece.data(), n);
      file.write(piece.data(), n);
      at += n;
    }
    file.commit();
    written_ += from.size();
  }

  void start_tensor() {
    if (tensor_ == shards_[shard_].begin) {
      const Shard& shard = shards_[shard_];
      layout_ = io::safetensors_layout({entries_.begin() + static_cast<std::ptrdiff_t>(shard.begin),
                                        entries_.begin() + static_cast<std::ptrdiff_t>(shard.end)},
                                       metadata_);
      file_ = std::make_unique<AtomicFile>(folder_->member(shard.name));
      file_->write(layout_.header.data(), layout_.header.size());
      written_ += layout_.header.size();
    }
    file_->seek(layout_.offsets[tensor_ - shards_[shard_].begin]);
    row_bytes_ = static_cast<std::size_t>(row_bytes(tensors_[tensor_].type, tensors_[tensor_].columns));
    head_rows_.resize(is_rotary(tensors_[tensor_]) ? size_product(head_, row_bytes_) : 0);
    head_done_ = 0;
  }

  void take(const std::byte* rows, std::size_t bytes) {
    written_ += bytes;
    if (head_rows_.empty()) return file_->write(rows, bytes);
    while (bytes != 0) {
      const std::size_t step = std::min(bytes, head_rows_.size() - head_done_);
      std::copy_n(rows, step, head_rows_.begin() + static_cast<std::ptrdiff_t>(head_done_));
      rows += step;
      bytes -= step;
      head_done_ += step;
      if (head_done_ == head_rows_.size()) write_head();
    }
  }

  // Meta turns the pairs (2j, 2j + 1) of a head, Hugging Face (j, j + half): first all even rows, then all odd ones.
  void write_head() {
    const auto rows = static_cast<std::size_t>(head_);
    for (std::size_t parity = 0; parity < 2; ++parity)
      for (std::size_t r = parity; r < rows; r += 2) file_->write(head_rows_.data() + r * row_bytes_, row_bytes_);
    head_done_ = 0;
  }

  void end_tensor() {
    done_ = 0;
    ++tensor_;
    if (tensor_ != shards_[shard_].end) return;
    file_->commit();
    file_.reset();
    ++shard_;
  }

  std::string path_;
  std::uint64_t shard_bytes_;
  std::uint64_t head_ = 0;
  std::vector<SinkTensor> tensors_;
  std::vector<io::SafetensorsEntry> entries_;
  std::vector<Shard> shards_;
  std::vector<MetadataEntry> metadata_;
  std::unique_ptr<AtomicFolder> folder_;
  io::SafetensorsLayout layout_;
  std::unique_ptr<AtomicFile> file_;  // goes before the folder
  std::size_t shard_ = 0, tensor_ = 0;
  std::uint64_t done_ = 0;  // bytes of the tensor
  std::size_t row_bytes_ = 0;
  std::vector<std::byte> head_rows_;  // one head of q or k, until it is whole
  std::size_t head_done_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace

std::unique_ptr<WeightSink> hf_sink(const std::string& folder, std::uint64_t shard_bytes) {
  return std::make_unique<HfSink>(folder, shard_bytes);
}

}  // namespace puna
