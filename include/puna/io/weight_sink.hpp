// Where a model's weights go: the other end of WeightSource. Tensors are announced first, then come row after row in
// Meta's order, so that a 70B model passes through a few megabytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "puna/io/weight_source.hpp"

namespace puna {

class Gguf;

// What a written model says about itself.
struct ModelDescription {
  Hyperparameters hyperparameters;
  const VocabData* vocab = nullptr;        // checked arrays; null: without a vocabulary
  std::string name;                        // general.name
  std::uint32_t file_type = 0;             // llama.cpp's general.file_type number
  bool quantized = false;
  const Gguf* gguf = nullptr;              // a GGUF source: its own entries are kept, what is above replaces them
  std::shared_ptr<const File> tokenizer;   // tokenizer.model of the source, copied beside a safetensors file
  std::vector<MetadataEntry> extra;        // text entries to add
  std::uint32_t pack = 0;                  // quantized matrices come packed for kernels of so many rows
};

struct SinkTensor {
  Part part;
  std::uint32_t layer;
  DType type;
  std::uint64_t rows, columns;
};

class WeightSink {
 public:
  virtual ~WeightSink() = default;  // without finish() nothing stays
  virtual void begin(const ModelDescription& model, std::span<const SinkTensor> tensors) = 0;
  // The next rows of the next tensor, packed, in the order of begin's tensors.
  virtual void write(const std::byte* rows, std::size_t bytes) = 0;
  // Flushed and renamed; after it the output is whole under its name.
  virtual void finish() = 0;
  virtual std::uint64_t bytes_written() const = 0;
};

// GGUF v3.
std::unique_ptr<WeightSink> gguf_sink(const std::string& path);
// The size of what gguf_sink would write, to the byte.
std::uint64_t gguf_bytes(const ModelDescription& model, std::span<const SinkTensor> tensors);
// A Hugging Face folder: safetensors in shards of at most shard_bytes (0: 5 GB), config.json, tokenizer. F32, F16, BF16
// only. q and k in Hugging Face's row order.
std::unique_ptr<WeightSink> hf_sink(const std::string& folder, std::uint64_t shard_bytes);

}  // namespace puna
