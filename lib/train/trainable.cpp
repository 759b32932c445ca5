#include "puna/train/trainable.hpp"

#include <algorithm>
#include <cmath>

#include "adam8.hpp"
#include "puna/infer/adapter.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {
namespace {

constexpr std::size_t apart = moment_block;  // aligned, and no block of moments is of two tensors

struct Target {
  std::uint32_t bit;
  Part part;
  TrainLinear TrainBlock::* place;
};
constexpr Target targets[] = {
    {target_q, Part::wq, &TrainBlock::wq},       {target_k, Part::wk, &TrainBlock::wk},   {target_v, Part::wv, &TrainBlock::wv},
    {target_o, Part::wo, &TrainBlock::wo},       {target_gate, Part::gate, &TrainBlock::gate}, {target_up, Part::up, &TrainBlock::up},
    {target_down, Part::down, &TrainBlock::down},
};

// Every tensor that the options train, in the order of their slabs.
std::vector<Trained> choose(const Config& c, bool tied, const TrainOptions& o) {
  std::vector<Trained> all;
  std::size_t offset = 0;
  const auto take = [&](Part part, std::uint32_t layer, Trained::Kind kind, std::uint32_t rows, std::uint32_t columns) {
    all.push_back({part, layer, kind, rows, columns, offset});
    offset += (all.back().size() + apart - 1) / apart * apart;
  };
  const auto pair = [&](Part part, std::uint32_t layer) {
    const PartShape s = part_shape(c, part);
    take(part, layer, Trained::Kind::lora_a, o.rank, s.columns);
    take(part, layer, Trained::Kind::lora_b, s.rows, o.rank);
    if (o.dora) take(part, layer, Trained::Kind::magnitude, s.rows, 1);
  };
  const auto whole = [&](Part part, std::uint32_t layer) {
    const PartShape s = part_shape(c, part);
    take(part, layer, Trained::Kind::weight, s.rows, s.columns);
  };
  const bool full = o.method == TrainMethod::full;
  if (full) whole(Part::token_embedding, 0);
  for (std::uint32_t i = 0; i < c.N; ++i) {
    if (full)
      for (const Part part : {Part::attn_norm, Part::wq, Part::wk, Part::wv, Part::wo, Part::ffn_norm, Part::gate, Part::up, Part::down})
        whole(part, i);
    else
      for (const Target& t : targets)
        if (o.targets & t.bit) pair(t.part, i);
  }
  if (full) whole(Part::output_norm, 0);
  if (full && !tied) whole(Part::output, 0);
  if (!full && (o.targets & target_head)) pair(Part::output, 0);
  return all;
}

std::size_t slab_size(const std::vector<Trained>& all) {
  return all.empty() ? 0 : all.back().offset + (all.back().size() + apart - 1) / apart * apart;
}

Matrix float_matrix(const float* data, std::uint32_t rows, std::uint32_t columns) {
  return {DType::f32, reinterpret_cast<const std::byte*>(data), rows, columns, columns * sizeof(float), 0};
}

}  // namespace

Trainable::Trainable(const Model& model, const TrainOptions& o) : rank_(o.rank), tensors_(choose(model.config(), model.tied(), o)) {
  if (tensors_.empty()) fail(Code::argument, "options.targets is 0: nothing would be trained");
  scale_ = static_cast<float>(o.rank_stabilized ? o.alpha / std::sqrt(static_cast<double>(o.rank)) : o.alpha / o.rank);
  size_ = slab_size(tensors_);
  Memory& memory = model.runtime()->memory;
  weights_ = Buffer<float>(memory, size_, "trained weights");
  gradients_ = Buffer<float>(memory, size_, "gradients");
  if (o.adam8) {
    codes_ = Buffer<std::uint8_t>(memory, 2 * size_, "moments");
    tops_ = Buffer<float>(memory, 2 * size_ / moment_block, "moments");
  } else {
    first_ = Buffer<float>(memory, size_, "first moments");
    second_ = Buffer<float>(memory, size_, "second moments");
  }
  loras_.reserve(tensors_.size());
  point(model, o);
  if (o.method == TrainMethod::full) {
    add_weights(model);
    if (o.fresh) start_anew(o.seed, model.config().N);
  } else {
    start_lora(o.seed);
    if (o.dora) start_magnitudes(model);
  }
  if (o.nf4) {
    nf4_ = std::make_unique<Nf4Base>(model, params_);
    nf4_->point(base_);
  }
}

TrainState train_state(const Config& config, bool tied, const TrainOptions& o) {
  const std::vector<Trained> all = choose(config, tied, o);
  const std::uint64_t size = slab_size(all), slab = size_product(size, sizeof(float));
  const std::uint64_t moments = o.adam8 ? 2 * (size + size / moment_block * sizeof(float)) : 2 * slab;
  TrainState state{2 * slab + moments, 0, slab + moments, slab, 0};
  for (const Trained& t : all) {
    state.parameters += t.size();
    if (t.kind == Trained::Kind::magnitude) state.norms += t.rows * sizeof(float);
  }
  return state;
}

std::uint64_t Trainable::parameters() const {
  std::uint64_t n = 0;
  for (const Trained& t : tensors_) n += t.size();
  return n;
}

void Trainable::point(const Model& model, const TrainOptions& o) {
  const Params& p = model.params();
  params_.embedding = p.embedding;
  params_.output_norm = p.output_norm;
  params_.head.w = p.output;
  for (const BlockParams& b : p.blocks) {
    TrainBlock t;
    t.attn_norm = b.attn_norm, t.ffn_norm = b.ffn_norm;
    t.wq.w = b.wq, t.wk.w = b.wk, t.wv.w = b.wv, t.wo.w = b.wo, t.gate.w = b.gate, t.up.w = b.up, t.down.w = b.down;
    params_.blocks.push_back(t);
  }
  if (o.method == TrainMethod::full) return;
  base_ = params_;
  Memory& memory = model.runtime()->memory;
  for (std::uint32_t i = 0; i < params_.blocks.size(); ++i)
    for (const Target& t : targets)
      if (o.targets & t.bit) add_lora(params_.blocks[i].*t.place, t.part, i, memory);
  if (o.targets & target_head) add_lora(params_.head, Part::output, 0, memory);
}

void Trainable::add_lora(TrainLinear& l, Part part, std::uint32_t layer, Memory& memory) {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const Trained& t) { return t.part == part && t.layer == layer; });
  const std::size_t a = found[0].offset, b = found[1].offset;
  loras_.push_back({rank_, scale_, weights_.data() + a, weights_.data() + b, gradients_.data() + a, gradients_.data() + b,
                    static_cast<std::uint32_t>(loras_.size())});
  Lora& lora = loras_.back();
  if (found + 2 < tensors_.end() && found[2].kind == Trained::Kind::magnitude) {
    lora.m = weights_.data() + found[2].offset, lora.dm = gradients_.data() + found[2].offset;
    lora.norms = norms_.emplace_back(memory, found[2].rows, "norms of rows").data();
  }
  l.lora = &lora;
}

void Trainable::update(const AdamStep& a, std::size_t first, std::size_t n) {
  float *w = weights_.data() + first, *g = gradients_.data() + first;
  if (!packed_moments()) return adamw(a, w, g, first_.data() + first, second_.data() + first, n);
  std::uint8_t* codes = codes_.data() + first;
  float* tops = tops_.data() + first / moment_block;
  adamw8(a, w, g, {codes, tops}, {codes + size_, tops + size_ / moment_block}, n);
}

std::vector<std::span<std::byte>> Trainable::state() {
  std::vector<std::span<std::byte>> all;
  for (Buffer<float>* x : {&weights_, &first_, &second_, &tops_})
    if (x->size() != 0) all.push_back(std::as_writable_bytes(x->span()));
  if (codes_.size() != 0) all.push_back(std::as_writable_bytes(codes_.span()));
  return all;
}

// A uniform in +-1/sqrt(columns) (PEFT: kaiming with a = sqrt 5), B zero.
void Trainable::start_lora(std::uint64_t seed) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Trained& t = tensors_[i];
    if (t.kind != Trained::Kind::lora_a) continue;
    Rng rng(seed, 0x10000u + i);
    const double bound = 1.0 / std::sqrt(static_cast<double>(t.columns));
    for (std::size_t j = 0; j < t.size(); ++j) weights_[t.offset + j] = static_cast<float>((2.0 * rng.uniform() - 1.0) * bound);
  }
}

// Norms one; matrices uniform with a deviation of 0.02, less for what is added to the residual stream 2 N times.
void Trainable::start_anew(std::uint64_t seed, std::uint32_t layers) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Trained& t = tensors_[i];
    float* w = weights_.data() + t.offset;
    if (t.rows == 1) {
      std::fill(w, w + t.size(), 1.0f);
      continue;
    }
    const bool adds = t.part == Part::wo || t.part == Part::down;
    const double bound = 0.02 * std::sqrt(3.0) / (adds ? std::sqrt(2.0 * layers) : 1.0);
    Rng rng(seed, 0x20000u + i);
    for (std::size_t j = 0; j < t.size(); ++j) w[j] = static_cast<float>((2.0 * rng.uniform() - 1.0) * bound);
  }
}

// The norms of the model's rows, so that a run begins with the model as it is.
void Trainable::start_magnitudes(const Model& model) {
  for (const Trained& t : tensors_)
    if (t.kind == Trained::Kind::magnitude) lora_row_norms(model, model_matrix(model, t.part, t.layer), 0, nullptr, nullptr, 0, weights_.data() + t.offset);
}

// The model's values as f32, and every layer's view of them.
void Trainable::add_weights(const Model& model) {
  const Params& p = model.params();
  for (const Trained& t : tensors_) {
    float *w = weights_.data() + t.offset, *g = gradients_.data() + t.offset;
    const auto matrix = [&](const Matrix& from) {
      for (std::uint32_t r = 0; r < t.rows; ++r) decode_matrix_row(from, r, w + static_cast<std::size_t>(r) * t.columns);
      return float_matrix(w, t.rows, t.columns);
    };
    const auto norm = [&](const float* from, const float*& view, float*& d) {
      std::copy(from, from + t.columns, w);
      view = w, d = g;
    };
    const auto linear = [&](const Matrix& from, TrainLinear& l) { l.w = matrix(from), l.dw = g; };
    TrainBlock* to = part_is_per_layer(t.part) ? &params_.blocks[t.layer] : nullptr;
    const BlockParams* b = to ? &p.blocks[t.layer] : nullptr;
    switch (t.part) {
      case Part::token_embedding:
        params_.embedding = matrix(p.embedding), params_.d_embedding = g;
        if (model.tied()) params_.head.w = params_.embedding, params_.head.dw = g;
        break;
      case Part::attn_norm: norm(b->attn_norm, to->attn_norm, to->d_attn_norm); break;
      case Part::ffn_norm: norm(b->ffn_norm, to->ffn_norm, to->d_ffn_norm); break;
      case Part::output_norm: norm(p.output_norm, params_.output_norm, params_.d_output_norm); break;
      case Part::wq: linear(b->wq, to->wq); break;
      case Part::wk: linear(b->wk, to->wk); break;
      case Part::wv: linear(b->wv, to->wv); break;
      case Part::wo: linear(b->wo, to->wo); break;
      case Part::gate: linear(b->gate, to->gate); break;
      case Part::up: linear(b->up, to->up); break;
      case Part::down: linear(b->down, to->down); break;
      case Part::output: linear(p.output, params_.head); break;
    }
  }
}

}  // namespace puna
