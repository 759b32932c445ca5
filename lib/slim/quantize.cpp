#include "puna/slim/quantize.hpp"

#include <algorithm>
#include <cmath>

#include "puna/io/gguf.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
namespace {

constexpr std::uint64_t chunk_bytes = 4 << 20;  // of f32: large enough to share out, small enough for any machine
constexpr std::uint32_t max_rows = 4096;

std::uint32_t rows_of_chunk(const WeightInfo& info) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(chunk_bytes / (info.columns * 4), 1, max_rows));
}

}  // namespace

Quantizer::Quantizer(RuntimeRef runtime, std::shared_ptr<const WeightSource> source, std::unique_ptr<WeightSink> sink, QuantizeOptions options)
    : runtime_(std::move(runtime)), source_(std::move(source)), sink_(std::move(sink)), options_(std::move(options)) {
  config_ = make_config(source_->hyperparameters(), source_->name());
  tensors_ = choose_types(*source_, config_, {options_.mix, options_.pure, options_.imatrix.has_value(), options_.overrides});
  check_sources();
  const VocabSource vocab = source_->vocab();
  tokenizer_ = Tokenizer::create(vocab, config_.V);

  ModelDescription model;
  model.hyperparameters = source_->hyperparameters();
  model.vocab = tokenizer_ ? &tokenizer_->vocab() : nullptr;
  model.tokenizer = vocab.kind == VocabSource::Kind::spm_model ? vocab.file : nullptr;
  model.gguf = source_->gguf();
  model.file_type = options_.mix ? options_.mix->file_type : 0;
  std::vector<SinkTensor> announced;
  std::uint64_t in_bytes = 1, out_bytes = 1;
  for (const ChosenTensor& t : tensors_) {
    announced.push_back({t.part, t.layer, t.type, t.info->rows, t.info->columns});
    model.quantized |= info(t.type).quantized();
    total_ += size_product(row_bytes(t.type, t.info->columns), t.info->rows);
    parameters_ += t.info->rows * t.info->columns;
    const std::uint64_t rows = rows_of_chunk(*t.info);
    max_columns_ = std::max<std::size_t>(max_columns_, t.info->columns);
    in_bytes = std::max(in_bytes, rows * row_bytes(t.info->type, t.info->columns));
    out_bytes = std::max(out_bytes, rows * row_bytes(t.type, t.info->columns));
  }
  if (options_.threads == 0) options_.threads = runtime_->tasks.width();
  options_.threads = std::min(options_.threads, runtime_->tasks.width());
  in_buffer_ = Buffer<std::byte>(runtime_->memory, static_cast<std::size_t>(in_bytes), "rows to read", Raw{});
  out_buffer_ = Buffer<std::byte>(runtime_->memory, static_cast<std::size_t>(out_bytes), "rows to write");
  floats_ = Buffer<float>(runtime_->memory, size_product(max_columns_, options_.threads), "rows as floats", Raw{});
  sink_->begin(model, announced);
}

void Quantizer::check_sources() const {
  for (const ChosenTensor& t : tensors_) {
    const DTypeInfo& from = info(t.info->type);
    if (t.info->columns % from.block != 0)
      fail(Code::format, source_->name() + ": tensor " + t.info->name + " has rows of " + std::to_string(t.info->columns) +
                             ", no multiple of " + std::string(from.name) + "'s block");
    if (from.quantized() && t.info->type != DType::q8_f32 && info(t.type).quantized() && t.type != t.info->type && !options_.requantize)
      fail(Code::argument, source_->name() + ": tensor " + t.info->name + " is " + std::string(from.name) + " already; making it " +
                               std::string(info(t.type).name) + " loses quality twice: quantize the original, or allow requantizing");
    if (options_.imatrix && info(t.type).quantized()) options_.imatrix->find(t.name, t.info->columns, options_.imatrix_name);
  }
}

void Quantizer::begin_chunk() {
  const ChosenTensor& t = tensors_[tensor_];
  rows_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(rows_of_chunk(*t.info), t.info->rows - row_));
  encoded_ = 0;
  const std::byte* place = source_->borrow(t.part, t.layer);
  if (place) {
    in_ = place + row_ * row_bytes(t.info->type, t.info->columns);
  } else {
    source_->copy(t.part, t.layer, row_, rows_, in_buffer_.data());
    in_ = in_buffer_.data();
  }
  importance_ = options_.imatrix ? options_.imatrix->find(t.name, t.info->columns, options_.imatrix_name) : nullptr;
  bad_row_.store(0);
  in_chunk_ = true;
}

void Quantizer::encode_tile(std::uint32_t row, std::uint32_t worker) {
  const ChosenTensor& t = tensors_[tensor_];
  const auto columns = static_cast<std::size_t>(t.info->columns);
  const std::size_t in_bytes = row_bytes(t.info->type, columns), out_bytes = row_bytes(t.type, columns);
  const std::byte* from = in_ + row * in_bytes;
  std::byte* to = out_buffer_.data() + row * out_bytes;
  if (t.type == t.info->type) {
    std::copy(from, from + in_bytes, to);
    return;
  }
  float* x = floats_.data() + worker * max_columns_;
  decode_row(t.info->type, from, x, columns);
  if (info(t.type).quantized()) {
    for (std::size_t i = 0; i < columns; ++i)
      if (!std::isfinite(x[i])) {
        bad_row_.store(row_ + row + 1);
        return;
      }
  }
  encode_row(t.type, x, to, columns, importance_);
}

void Quantizer::end_chunk() {
  const ChosenTensor& t = tensors_[tensor_];
  if (const std::uint64_t bad = bad_row_.load())
    fail(Code::format, source_->name() + ": tensor " + t.info->name + " has a NaN or an infinity in row " + std::to_string(bad - 1));
  const std::size_t bytes = size_product(row_bytes(t.type, t.info->columns), rows_);
  sink_->write(out_buffer_.data(), bytes);
  done_ += bytes;
  row_ += rows_;
  in_chunk_ = false;
  if (row_ == t.info->rows) {
    row_ = 0;
    ++tensor_;
  }
}

bool Quantizer::step(const Deadline& deadline, const CancelToken* cancel) {
  while (!finished_) {
    if (cancel && cancel->tripped()) fail(Code::cancelled, "writing was cancelled");
    if (tensor_ == tensors_.size()) {
      sink_->finish();
      finished_ = true;
      break;
    }
    if (!in_chunk_) begin_chunk();
    encoded_ = runtime_->tasks.run(rows_, encoded_, options_.threads,
                                   [this](std::uint32_t row, std::uint32_t worker) { encode_tile(row, worker); }, deadline, cancel);
    if (encoded_ == rows_) end_chunk();
    if (deadline.passed()) return false;
  }
  return true;
}

}  // namespace puna
