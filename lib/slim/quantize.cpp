#include "puna/slim/quantize.hpp"

#include <algorithm>
#include <bit>

#include "puna/io/gguf.hpp"
#include "puna/tensor/codec.hpp"
#include "puna/tensor/pack.hpp"
#include "puna/text/spm_model.hpp"

namespace puna {
namespace {

constexpr std::uint64_t chunk_bytes = 16 << 20;  // of f32: large enough to share out, small enough for any machine
constexpr std::uint32_t max_rows = 4096;

// Whole groups of packed rows, whatever the kernels.
std::uint32_t rows_of_chunk(const WeightInfo& info) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(chunk_bytes / (info.columns * 4) / 16 * 16, 16, max_rows));
}

bool all_finite(const float* x, std::size_t n) {
  std::uint32_t carries = 0;
  for (; n >= 32; n -= 32, x += 32)
    for (std::size_t i = 0; i < 32; ++i) {
      const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
      carries |= magnitude + 0x00800000u;  // a full exponent carries into the top bit
    }
  for (std::size_t i = 0; i < n; ++i) carries |= (std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu) + 0x00800000u;
  return carries >> 31 == 0;
}

void check_tensor(const WeightSource& source, const ChosenTensor& t, const QuantizeOptions& options) {
  const DTypeInfo& from = info(t.info->type);
  const std::string tensor = source.name() + ": tensor " + t.info->name;
  if (t.info->columns == 0 || t.info->columns % from.block != 0)
    fail(Code::format, tensor + " has rows of " + std::to_string(t.info->columns) + ", no multiple of " + std::string(from.name) + "'s block");
  if (t.info->pack)
    fail(Code::unsupported, tensor + " is packed for this library's kernels; give the file that was packed");
  const bool from_blocks = from.quantized() && t.info->type != DType::q8_f32;
  if (from_blocks && info(t.type).quantized() && t.type != t.info->type && !options.requantize)
    fail(Code::argument, tensor + " is " + std::string(from.name) + " already; making it " + std::string(info(t.type).name) +
                             " loses quality twice: quantize the original, or allow requantizing");
  if (options.imatrix && info(t.type).quantized()) options.imatrix->find(t.name, t.info->columns, options.imatrix_name);
}

// llama.cpp's number for what most matrices are: the mix's, else what the source says of itself, else by the embedding.
std::uint32_t file_type(const WeightSource& source, const QuantizePlan& plan, const QuantizeOptions& options) {
  if (options.mix) return options.mix->file_type;
  if (const Gguf* g = source.gguf())
    if (const auto said = g->whole("general.file_type"); said && *said <= 0xffffffffu) return static_cast<std::uint32_t>(*said);
  for (const ChosenTensor& t : plan.tensors)
    if (t.part == Part::token_embedding)
      for (const Mix& mix : mixes())
        if (mix.base == t.type) return mix.file_type;
  return 0;
}

}  // namespace

QuantizePlan plan_quantize(const WeightSource& source, const QuantizeOptions& options, std::uint32_t workers) {
  const Config config = make_config(source.hyperparameters(), source.name());
  QuantizePlan plan;
  plan.tensors = choose_types(source, config, {options.mix, options.pure, options.imatrix.has_value(), options.overrides});
  for (const ChosenTensor& t : plan.tensors) {
    check_tensor(source, t, options);
    const std::uint64_t rows = rows_of_chunk(*t.info);
    plan.quantized |= info(t.type).quantized();
    plan.parameters += t.info->rows * t.info->columns;
    plan.output_bytes += size_product(row_bytes(t.type, t.info->columns), t.info->rows);
    if (options.pack) plan.pack_bytes = std::max(plan.pack_bytes, options.pack * row_bytes(t.type, t.info->columns));
    plan.columns = std::max(plan.columns, t.info->columns);
    plan.in_bytes = std::max(plan.in_bytes, rows * row_bytes(t.info->type, t.info->columns));
    plan.out_bytes = std::max(plan.out_bytes, rows * row_bytes(t.type, t.info->columns));
  }
  plan.tied = is_tied(source);
  plan.buffer_bytes = plan.in_bytes + 2 * plan.out_bytes + plan.pack_bytes + plan.columns * workers * sizeof(float);
  return plan;
}

void describe_output(const WeightSource& source, const QuantizePlan& plan, const QuantizeOptions& options, OutputDescription& out) {
  const VocabSource vocab = source.vocab();
  out.tokenizer = Tokenizer::create(vocab, source.hyperparameters().vocab);
  ModelDescription& model = out.model;
  model.hyperparameters = source.hyperparameters();
  model.vocab = out.tokenizer ? &out.tokenizer->vocab() : nullptr;
  if (vocab.kind == VocabSource::Kind::spm_model || vocab.kind == VocabSource::Kind::hf_json) {
    model.tokenizer = vocab.file;
  } else if (model.vocab && !model.vocab->merge_rules) {  // a folder needs a file beside the weights: made
    out.proto = build_model_proto(*model.vocab);
    model.tokenizer = File::from_memory(std::as_bytes(std::span(out.proto)), source.name() + ": vocabulary");
  }
  model.gguf = source.gguf();
  model.file_type = file_type(source, plan, options);
  model.quantized = plan.quantized || options.mix != nullptr;  // llama.cpp marks every output of its quantizer
  model.pack = options.pack;
  for (const ChosenTensor& t : plan.tensors) out.tensors.push_back({t.part, t.layer, t.type, t.info->rows, t.info->columns});
}

Quantizer::Quantizer(RuntimeRef runtime, std::shared_ptr<const WeightSource> source, std::unique_ptr<WeightSink> sink, QuantizeOptions options)
    : runtime_(std::move(runtime)), source_(std::move(source)), sink_(std::move(sink)), options_(std::move(options)) {
  const std::uint32_t width = runtime_->tasks.width();
  options_.threads = options_.threads == 0 ? width : std::min(options_.threads, width);
  plan_ = plan_quantize(*source_, options_, options_.threads);
  describe_output(*source_, plan_, options_, output_);
  in_buffer_ = Buffer<std::byte>(runtime_->memory, static_cast<std::size_t>(plan_.in_bytes), "rows to read", Raw{});
  out_buffer_ = Buffer<std::byte>(runtime_->memory, size_product(2, plan_.out_bytes), "rows to write");
  out_ = out_buffer_.data();
  pack_buffer_ = Buffer<std::byte>(runtime_->memory, static_cast<std::size_t>(plan_.pack_bytes), "rows side by side", Raw{});
  floats_ = Buffer<float>(runtime_->memory, size_product(plan_.columns, options_.threads), "rows as floats", Raw{});
  sink_->begin(output_.model, output_.tensors);
}

void Quantizer::begin_chunk() {
  const ChosenTensor& t = plan_.tensors[tensor_];
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

// The disk is fed while the next rows are encoded: the first tile of a chunk writes the chunk before it.
void Quantizer::tile(std::uint32_t index, std::uint32_t worker) noexcept {
  if (index != 0) return encode_row_of_chunk(index - 1, worker);
  try {
    write_ready();
  } catch (...) {
    write_error_ = std::current_exception();  // tiles never throw: end_chunk does
  }
}

std::uint32_t Quantizer::pack_of(const ChosenTensor& t) const {
  const bool packed = packs(t.part, t.type, options_.pack, plan_.tied) && t.info->rows % options_.pack == 0;
  return packed ? options_.pack : 0;
}

void Quantizer::write_ready() {
  if (ready_.empty()) return;
  if (const std::uint32_t pack = pack_of(*ready_tensor_)) {
    const auto columns = static_cast<std::size_t>(ready_tensor_->info->columns);
    const auto row = static_cast<std::size_t>(row_bytes(ready_tensor_->type, columns)), group = row * pack;
    for (std::size_t at = 0; at < ready_.size(); at += group) {
      pack_group(ready_tensor_->type, ready_.data() + at, row, pack, columns, pack, pack_buffer_.data());
      sink_->write(pack_buffer_.data(), group);
    }
  } else {
    sink_->write(ready_.data(), ready_.size());
  }
  ready_ = {};
}

void Quantizer::encode_row_of_chunk(std::uint32_t row, std::uint32_t worker) {
  const ChosenTensor& t = plan_.tensors[tensor_];
  const auto columns = static_cast<std::size_t>(t.info->columns);
  const std::size_t in_bytes = row_bytes(t.info->type, columns), out_bytes = row_bytes(t.type, columns);
  const std::byte* from = in_ + row * in_bytes;
  std::byte* to = out_ + row * out_bytes;
  if (t.type == t.info->type) {
    std::copy(from, from + in_bytes, to);
    return;
  }
  const float* x = reinterpret_cast<const float*>(from);
  if (t.info->type != DType::f32 || reinterpret_cast<std::uintptr_t>(from) % alignof(float) != 0) {
    float* decoded = floats_.data() + worker * static_cast<std::size_t>(plan_.columns);
    decode_row(t.info->type, from, decoded, columns);
    x = decoded;
  }
  if (info(t.type).quantized() && !all_finite(x, columns)) {
    bad_row_.store(row_ + row + 1);
    return;
  }
  encode_row(t.type, x, to, columns, importance_, *kernels_.encode);
}

void Quantizer::end_chunk() {
  if (write_error_) std::rethrow_exception(write_error_);
  const ChosenTensor& t = plan_.tensors[tensor_];
  if (const std::uint64_t bad = bad_row_.load())
    fail(Code::format, source_->name() + ": tensor " + t.info->name + " has a NaN or an infinity in row " + std::to_string(bad - 1));
  const std::size_t bytes = size_product(row_bytes(t.type, t.info->columns), rows_);
  ready_ = {out_, bytes};
  ready_tensor_ = &t;
  out_ = out_buffer_.data() + (out_ == out_buffer_.data() ? plan_.out_bytes : 0);
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
    if (tensor_ == plan_.tensors.size()) {
      write_ready();
      sink_->finish();
      finished_ = true;
      break;
    }
    if (!in_chunk_) begin_chunk();
    const std::uint32_t tiles = rows_ + 1;
    encoded_ = runtime_->tasks.run(tiles, encoded_, options_.threads,
                                   [this](std::uint32_t index, std::uint32_t worker) { tile(index, worker); }, deadline, cancel);
    if (encoded_ == tiles) end_chunk();
    if (deadline.passed()) return false;
  }
  return true;
}

}  // namespace puna
