// A model: weights, config, vocabulary, metadata. Immutable once loaded; any number of sessions on any threads share it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "puna/base/machine.hpp"
#include "puna/base/runtime.hpp"
#include "puna/base/sha256.hpp"
#include "puna/io/weight_source.hpp"
#include "puna/nn/params.hpp"
#include "puna/text/tokenizer.hpp"

namespace puna {

class Model {
 public:
  const Config& config() const { return config_; }
  const Params& params() const { return params_; }
  const RuntimeRef& runtime() const { return runtime_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }  // may be null
  const std::vector<MetadataEntry>& metadata() const { return metadata_; }
  // What it was loaded from: for writing it again with other weights.
  const std::shared_ptr<const WeightSource>& source() const { return source_; }
  const std::string& name() const { return name_; }
  const std::string& format() const { return format_; }
  bool tied() const { return tied_; }
  std::uint64_t parameters() const { return parameters_; }
  std::uint64_t weight_bytes() const { return weight_bytes_; }

 private:
  friend class ModelLoader;
  Model() = default;
  RuntimeRef runtime_;
  std::shared_ptr<const WeightSource> source_;  // keeps borrowed weights alive
  std::vector<Buffer<std::byte>> owned_;        // copied weights
  LockedPages locked_;                          // of both, where that was asked for
  Config config_;
  Params params_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<MetadataEntry> metadata_;
  std::string name_, format_;
  bool tied_ = false;
  std::uint64_t parameters_ = 0, weight_bytes_ = 0;
};

// How the weights of a source will be held: what is used in place and what is copied. Also the forecast.
struct WeightPlan {
  struct Item {
    Part part;
    std::uint32_t layer;
    const WeightInfo* info;
    bool in_place;
    DType type;           // after loading: norms become f32
    std::uint32_t pack;   // Matrix::pack after loading
    std::uint64_t bytes;  // after loading
  };
  std::vector<Item> items;
  std::uint64_t parameters = 0, weight_bytes = 0, copied_bytes = 0;
  bool tied = false, quantized = false;
};
// pack: the group that quantized matrices are packed for (Kernels::pack_rows); 0: they stay as stored.
// Checks every tensor's presence, type and shape. Throws Error(format | unsupported) naming file and tensor.
WeightPlan plan_weights(const WeightSource& source, const Config& config, bool copy_all, std::uint32_t pack);

struct LoadOptions {
  bool copy_all = false;
  bool as_stored = false;                       // no packing: quantized weights stay where they are mapped
  bool lock = false;                            // weights stay in memory (mlock)
  bool no_tokenizer = false;
  std::string sha256;                           // hexadecimal; empty: not pinned
  std::shared_ptr<const File> tokenizer_file;   // instead of the source's own vocabulary
};

// Loading as resumable work: hash, parse, then tensor after tensor.
class ModelLoader {
 public:
  using OpenFn = std::function<std::unique_ptr<WeightSource>()>;
  // file: what the hash is taken of, null when the source is not a single file. open: makes the source, after the hash held.
  ModelLoader(RuntimeRef runtime, std::shared_ptr<const File> file, OpenFn open, LoadOptions options);

  // True when done; then take() gives the model. Throws what is wrong with the files, or Error(cancelled).
  bool step(const Deadline& deadline, const CancelToken* cancel);
  std::shared_ptr<const Model> take();

  bool hashing() const { return phase_ == Phase::hash; }
  std::uint64_t done() const { return done_; }
  std::uint64_t total() const { return total_; }

 private:
  enum class Phase { hash, open, vocabulary, weights, finished };
  void hash_some();
  void open_source();
  void read_vocabulary();
  void load_some(const Deadline& deadline, const CancelToken* cancel);
  void pack_some(const Deadline& deadline, const CancelToken* cancel);
  void pack_mapped(const Deadline& deadline, const CancelToken* cancel);
  void finish_item();
  void begin_item();

  RuntimeRef runtime_;
  std::shared_ptr<const File> file_;
  OpenFn open_;
  LoadOptions options_;
  Phase phase_ = Phase::open;
  std::uint64_t done_ = 0, total_ = 0;
  Sha256 sha_;
  WeightPlan plan_;
  std::size_t item_ = 0;
  const std::byte* item_data_ = nullptr;
  std::uint64_t item_row_ = 0;
  std::uint32_t item_tile_ = 0;  // of an item that is packed in parallel
  std::shared_ptr<Model> model_;
};

}  // namespace puna
