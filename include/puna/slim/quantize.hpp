// From a weight source to a weight sink in other types: quantizing and converting are one job. Streaming: a few rows per
// worker are in memory, whatever the model's size.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "puna/base/runtime.hpp"
#include "puna/io/weight_sink.hpp"
#include "puna/kernels/table.hpp"
#include "puna/slim/imatrix.hpp"
#include "puna/slim/mix.hpp"
#include "puna/text/tokenizer.hpp"

namespace puna {

struct QuantizeOptions {
  const Mix* mix = nullptr;  // null: the source's own types
  bool pure = false;
  bool requantize = false;  // from block types too, which loses quality twice
  std::vector<TypeOverride> overrides;
  std::optional<Imatrix> imatrix;
  std::string imatrix_name;  // for messages
  std::uint32_t threads = 0;
  std::uint32_t pack = 0;  // lay quantized rows side by side, for kernels of so many; 0: no
};

// What a Quantizer with these options will write and hold, checked.
struct QuantizePlan {
  std::vector<ChosenTensor> tensors;
  std::uint64_t parameters = 0;
  std::uint64_t output_bytes = 0;  // of tensor data
  std::uint64_t in_bytes = 1, out_bytes = 1;  // buffers of a chunk
  std::uint64_t pack_bytes = 0;               // buffer of a group of packed rows
  std::uint64_t columns = 0;                  // the longest row
  std::uint64_t buffer_bytes = 0;             // all buffers together
  bool tied = false;                          // embedding and head are one matrix
  bool quantized = false;                     // any tensor ends in a block type
};
QuantizePlan plan_quantize(const WeightSource& source, const QuantizeOptions& options, std::uint32_t workers);

// What the sink is told, and what that points into.
struct OutputDescription {
  OutputDescription() = default;
  OutputDescription(const OutputDescription&) = delete;
  OutputDescription& operator=(const OutputDescription&) = delete;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string proto;  // a tokenizer.model, where the source's vocabulary came as arrays
  ModelDescription model;
  std::vector<SinkTensor> tensors;
};
void describe_output(const WeightSource& source, const QuantizePlan& plan, const QuantizeOptions& options, OutputDescription& out);

class Quantizer {
 public:
  // Chooses and checks everything, then writes the header. The source's vocabulary goes along.
  Quantizer(RuntimeRef runtime, std::shared_ptr<const WeightSource> source, std::unique_ptr<WeightSink> sink, QuantizeOptions options);

  // True when the output is whole under its name. Error(cancelled), or what went wrong; then nothing stays.
  bool step(const Deadline& deadline, const CancelToken* cancel);

  std::uint64_t done() const { return done_; }    // bytes of output
  std::uint64_t total() const { return plan_.output_bytes; }
  std::uint64_t bytes_written() const { return sink_->bytes_written(); }
  double bits_per_weight() const { return 8.0 * static_cast<double>(plan_.output_bytes) / static_cast<double>(plan_.parameters); }
  const std::vector<ChosenTensor>& tensors() const { return plan_.tensors; }

 private:
  void begin_chunk();
  void tile(std::uint32_t index, std::uint32_t worker) noexcept;
  void encode_row_of_chunk(std::uint32_t row, std::uint32_t worker);
  void write_ready();
  std::uint32_t pack_of(const ChosenTensor& t) const;
  void end_chunk();

  RuntimeRef runtime_;
  const Kernels& kernels_ = machine_kernels();
  std::shared_ptr<const WeightSource> source_;
  std::unique_ptr<WeightSink> sink_;
  QuantizeOptions options_;
  QuantizePlan plan_;
  OutputDescription output_;
  std::uint64_t done_ = 0;

  // The chunk in progress: rows [row_, row_ + rows_) of a tensor.
  std::size_t tensor_ = 0;
  std::uint64_t row_ = 0;
  std::uint32_t rows_ = 0, encoded_ = 0;
  bool in_chunk_ = false, finished_ = false;
  const std::byte* in_ = nullptr;
  std::byte* out_ = nullptr;  // the half of out_buffer_ that it fills
  const float* importance_ = nullptr;
  std::atomic<std::uint64_t> bad_row_{0};  // one more than a row with a NaN or an infinity
  std::span<const std::byte> ready_;  // the chunk before it, encoded: written while this one is encoded
  const ChosenTensor* ready_tensor_ = nullptr;
  std::exception_ptr write_error_;
  Buffer<std::byte> in_buffer_, out_buffer_, pack_buffer_;
  Buffer<float> floats_;  // [workers][columns]
};

}  // namespace puna
