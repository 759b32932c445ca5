#include "puna/infer/model.hpp"

#include <algorithm>
#include <cctype>

#include "puna/kernels/table.hpp"
#include "puna/nn/workspace.hpp"
#include "puna/tensor/codec.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {
namespace {

constexpr std::size_t hash_chunk = 128 << 10;   // about a quarter of a millisecond
constexpr std::uint64_t copy_chunk = 512 << 10;

bool is_norm(Part part) { return part == Part::attn_norm || part == Part::ffn_norm || part == Part::output_norm; }

std::string shape_text(std::uint64_t rows, std::uint64_t columns) {
  return "[" + std::to_string(rows) + ", " + std::to_string(columns) + "]";
}

// Where a part's view is kept.
Matrix* matrix_slot(Params& p, Part part, std::uint32_t layer) {
  if (part == Part::token_embedding) return &p.embedding;
  if (part == Part::output) return &p.output;
  if (!part_is_per_layer(part)) return nullptr;
  BlockParams& b = p.blocks[layer];
  switch (part) {
    case Part::wq: return &b.wq;
    case Part::wk: return &b.wk;
    case Part::wv: return &b.wv;
    case Part::wo: return &b.wo;
    case Part::gate: return &b.gate;
    case Part::up: return &b.up;
    case Part::down: return &b.down;
    default: return nullptr;
  }
}

void set_norm(Params& p, Part part, std::uint32_t layer, const float* weight) {
  if (part == Part::attn_norm) p.blocks[layer].attn_norm = weight;
  if (part == Part::ffn_norm) p.blocks[layer].ffn_norm = weight;
  if (part == Part::output_norm) p.output_norm = weight;
}

}  // namespace

WeightPlan plan_weights(const WeightSource& source, const Config& config, bool copy_all, std::uint32_t pack) {
  WeightPlan plan;
  const bool tied = is_tied(source);
  const auto add = [&](Part part, std::uint32_t layer, bool required) {
    const WeightInfo* found = source.find(part, layer);
    const std::string label =
        part_is_per_layer(part) ? std::string(part_name(part)) + " of layer " + std::to_string(layer) : std::string(part_name(part));
    if (!found) {
      if (required) fail(Code::format, source.name() + ": tensor " + label + " is missing");
      return false;
    }
    const PartShape shape = part_shape(config, part);
    if (found->rows != shape.rows || found->columns != shape.columns)
      fail(Code::format, source.name() + ": tensor " + found->name + " is " + shape_text(found->rows, found->columns) +
                             ", its place needs " + shape_text(shape.rows, shape.columns));
    const DTypeInfo& type = info(found->type);
    if (found->columns % type.block != 0)
      fail(Code::format, source.name() + ": tensor " + found->name + " has rows of " + std::to_string(found->columns) +
                             ", no multiple of " + std::string(type.name) + "'s block of " + std::to_string(type.block));
    if (is_norm(part) && type.quantized())
      fail(Code::unsupported, source.name() + ": norm " + found->name + " is of type " + std::string(type.name));
    WeightPlan::Item item{part, layer, found, false, is_norm(part) ? DType::f32 : found->type, 0, 0};
    item.bytes = size_product(row_bytes(item.type, found->columns), found->rows);
    if (found->pack && found->pack != machine_kernels().pack_rows)
      fail(Code::unsupported, source.name() + ": tensor " + found->name + " is packed for kernels of " + std::to_string(found->pack) +
                                  " rows, this machine's take " + std::to_string(machine_kernels().pack_rows) +
                                  "; load the file that it was made of, or pack that here");
    if (packs(part, item.type, pack, tied) || found->pack) {
      item.pack = found->pack ? found->pack : pack;
      item.bytes = packed_bytes(item.type, found->rows, found->columns, item.pack);
    }
    const bool laid_anew = item.pack != found->pack;
    // A norm is used as float[]: in place only when it is f32 and aligned.
    const std::byte* place = copy_all || laid_anew ? nullptr : source.borrow(part, layer);
    item.in_place = place && (!is_norm(part) || (found->type == DType::f32 && reinterpret_cast<std::uintptr_t>(place) % 4 == 0));
    plan.parameters += found->rows * found->columns;
    plan.weight_bytes += item.bytes;
    if (!item.in_place) plan.copied_bytes += item.bytes;
    plan.quantized |= type.quantized();
    plan.items.push_back(item);
    return true;
  };
  // Tied embeddings are stored once, under either name.
  add(Part::token_embedding, 0, !source.find(Part::output, 0));
  add(Part::output, 0, !source.find(Part::token_embedding, 0));
  plan.tied = tied;
  for (std::uint32_t layer = 0; layer < config.N; ++layer)
    for (Part part : {Part::attn_norm, Part::wq, Part::wk, Part::wv, Part::wo, Part::ffn_norm, Part::gate, Part::up, Part::down})
      add(part, layer, true);
  add(Part::output_norm, 0, true);
  return plan;
}

ModelLoader::ModelLoader(RuntimeRef runtime, std::shared_ptr<const File> file, OpenFn open, LoadOptions options)
    : runtime_(std::move(runtime)), file_(std::move(file)), open_(std::move(open)), options_(std::move(options)) {
  if (options_.sha256.empty()) return;
  std::transform(options_.sha256.begin(), options_.sha256.end(), options_.sha256.begin(),
                 [](unsigned char ch) { return static_cast<char>(ch >= 'A' && ch <= 'F' ? ch - 'A' + 'a' : ch); });
  if (options_.sha256.size() != 64 || options_.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    fail(Code::argument, "sha256 is \"" + options_.sha256 + "\", not 64 hexadecimal digits");
  if (!file_) fail(Code::unsupported, "sha256 pins a single file, this source is a folder");
  phase_ = Phase::hash;
  total_ = file_->size();
}

bool ModelLoader::step(const Deadline& deadline, const CancelToken* cancel) {
  while (phase_ != Phase::finished) {
    if (cancel && cancel->tripped()) fail(Code::cancelled, "loading was cancelled");
    switch (phase_) {
      case Phase::hash: hash_some(); break;
      case Phase::open: open_source(); break;
      case Phase::vocabulary: read_vocabulary(); break;
      case Phase::weights: load_some(deadline, cancel); break;
      case Phase::finished: break;
    }
    if (deadline.passed()) return phase_ == Phase::finished;
  }
  return true;
}

void ModelLoader::hash_some() {
  const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(hash_chunk, file_->size() - done_));
  if (file_->data()) {
    sha_.update(file_->data() + done_, n);
  } else {
    std::vector<std::byte> chunk(n);
    file_->read(done_, chunk.data(), n);
    sha_.update(chunk.data(), n);
  }
  done_ += n;
  if (done_ < file_->size()) return;
  const std::string is = to_hex(sha_.finish());
  if (is != options_.sha256)
    fail(Code::hash, file_->name() + ": SHA-256 is " + is + ", " + options_.sha256 + " was pinned");
  phase_ = Phase::open;
}

void ModelLoader::open_source() {
  std::shared_ptr<Model> model(new Model);
  model->runtime_ = runtime_;
  model->source_ = open_();
  const WeightSource& source = *model->source_;
  model->config_ = make_config(source.hyperparameters(), source.name());
  plan_ = plan_weights(source, model->config_, options_.copy_all, options_.as_stored ? 0 : machine_kernels().pack_rows);
  model->params_.blocks.resize(model->config_.N);
  model->metadata_ = source.metadata();
  model->name_ = source.name();
  model->format_ = source.format();
  model->tied_ = plan_.tied;
  model->parameters_ = plan_.parameters;
  model->weight_bytes_ = plan_.weight_bytes;
  model_ = std::move(model);
  done_ = 0;
  total_ = plan_.weight_bytes;
  phase_ = Phase::vocabulary;
}

void ModelLoader::read_vocabulary() {
  if (!options_.no_tokenizer) {
    VocabSource vocab = model_->source_->vocab();
    if (options_.tokenizer_file) {
      model_->tokenizer_ = Tokenizer::open(options_.tokenizer_file);
    } else {
      model_->tokenizer_ = Tokenizer::create(vocab, model_->config_.V);
    }
    if (model_->tokenizer_ && static_cast<std::uint32_t>(model_->tokenizer_->size()) > model_->config_.V)
      fail(Code::format, model_->tokenizer_->name() + ": vocabulary of " + std::to_string(model_->tokenizer_->size()) +
                             " pieces, the model's embedding has " + std::to_string(model_->config_.V) + " rows");
  }
  phase_ = Phase::weights;
}

void ModelLoader::begin_item() {
  const WeightPlan::Item& item = plan_.items[item_];
  const std::byte* data;
  if (item.in_place) {
    data = model_->source_->borrow(item.part, item.layer);
  } else {
    model_->owned_.emplace_back(runtime_->memory, static_cast<std::size_t>(item.bytes), item.info->name.c_str(), Raw{});
    data = model_->owned_.back().data();
  }
  item_data_ = data;
  if (Matrix* slot = matrix_slot(model_->params_, item.part, item.layer)) {
    *slot = {item.type, data, static_cast<std::uint32_t>(item.info->rows), static_cast<std::uint32_t>(item.info->columns),
             static_cast<std::size_t>(row_bytes(item.type, item.info->columns)), item.pack};
  } else {
    set_norm(model_->params_, item.part, item.layer, reinterpret_cast<const float*>(data));
  }
  item_row_ = 0;
  item_tile_ = 0;
}

void ModelLoader::load_some(const Deadline& deadline, const CancelToken* cancel) {
  if (item_ == plan_.items.size()) {
    Params& p = model_->params_;
    if (plan_.tied) {
      if (p.embedding.data)
        p.output = p.embedding;
      else
        p.embedding = p.output;
    }
    phase_ = Phase::finished;
    return;
  }
  const WeightPlan::Item& item = plan_.items[item_];
  if (item_row_ == 0 && item_tile_ == 0) begin_item();
  if (item.pack != item.info->pack) return pack_some(deadline, cancel);
  const std::uint64_t stored_row = row_bytes(item.info->type, item.info->columns);
  if (item.in_place) {
    item_row_ = item.info->rows;
  } else {
    const std::uint64_t count = std::min(item.info->rows - item_row_, std::max<std::uint64_t>(1, copy_chunk / stored_row));
    std::byte* dst = model_->owned_.back().data() + item_row_ * row_bytes(item.type, item.info->columns);
    if (item.type == item.info->type) {
      model_->source_->copy(item.part, item.layer, item_row_, count, dst);
    } else {  // a norm on its way to f32
      std::vector<std::byte> stored(static_cast<std::size_t>(stored_row));
      model_->source_->copy(item.part, item.layer, 0, 1, stored.data());
      decode_row(item.info->type, stored.data(), reinterpret_cast<float*>(dst), static_cast<std::size_t>(item.info->columns));
    }
    item_row_ += count;
  }
  if (item_row_ == item.info->rows) finish_item();
}

void ModelLoader::finish_item() {
  const WeightPlan::Item& item = plan_.items[item_];
  if (options_.lock) model_->locked_.add(item_data_, static_cast<std::size_t>(item.bytes), model_->name_ + ": tensor " + item.info->name);
  done_ += item.bytes;
  ++item_;
  item_row_ = 0;
  item_tile_ = 0;
}

// Reads a few groups of rows and lays them side by side; in parallel where the source has them in memory.
void ModelLoader::pack_some(const Deadline& deadline, const CancelToken* cancel) {
  const WeightPlan::Item& item = plan_.items[item_];
  if (model_->source_->borrow(item.part, item.layer)) return pack_mapped(deadline, cancel);
  const auto bytes = static_cast<std::size_t>(row_bytes(item.type, item.info->columns));
  const std::uint64_t groups = std::max<std::uint64_t>(1, copy_chunk / (bytes * item.pack));
  const std::uint64_t count = std::min(item.info->rows - item_row_, groups * item.pack);
  std::vector<std::byte> rows(static_cast<std::size_t>(count) * bytes);
  model_->source_->copy(item.part, item.layer, item_row_, count, rows.data());
  std::byte* to = model_->owned_.back().data() + item_row_ * bytes;
  for (std::uint64_t row = 0; row < count; row += item.pack)
    pack_group(item.type, rows.data() + row * bytes, bytes, static_cast<std::uint32_t>(std::min<std::uint64_t>(item.pack, count - row)),
               static_cast<std::size_t>(item.info->columns), item.pack, to + row * bytes);
  item_row_ += count;
  if (item_row_ == item.info->rows) finish_item();
}

void ModelLoader::pack_mapped(const Deadline& deadline, const CancelToken* cancel) {
  const WeightPlan::Item& item = plan_.items[item_];
  const WeightSource& source = *model_->source_;
  const std::byte* from = source.borrow(item.part, item.layer);
  const auto bytes = static_cast<std::size_t>(row_bytes(item.type, item.info->columns));
  const std::uint64_t tile_rows = std::max<std::uint64_t>(1, copy_chunk / (bytes * item.pack)) * item.pack;
  const auto tiles = static_cast<std::uint32_t>((item.info->rows + tile_rows - 1) / tile_rows);
  std::byte* to = model_->owned_.back().data();
  item_tile_ = runtime_->tasks.run(
      tiles, item_tile_, runtime_->tasks.width(),
      [&](std::uint32_t tile, std::uint32_t) {
        const std::uint64_t first = tile * tile_rows, end = std::min(item.info->rows, first + tile_rows);
        for (std::uint64_t row = first; row < end; row += item.pack)
          pack_group(item.type, from + row * bytes, bytes, static_cast<std::uint32_t>(std::min<std::uint64_t>(item.pack, end - row)),
                     static_cast<std::size_t>(item.info->columns), item.pack, to + row * bytes);
        source.give_back(item.part, item.layer, first, end - first);
      },
      deadline, cancel);
  if (item_tile_ == tiles) finish_item();
}

std::shared_ptr<const Model> ModelLoader::take() {
  if (phase_ != Phase::finished || !model_) fail(Code::state, "the model is not loaded yet, or was taken already");
  return std::exchange(model_, nullptr);
}

}  // namespace puna
