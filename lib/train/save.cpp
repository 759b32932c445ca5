#include "puna/train/save.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/json_text.hpp"
#include "io/safetensors_sink.hpp"
#include "puna/io/atomic_file.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
namespace {

std::string_view module_name(Part part) {
  switch (part) {
    case Part::wq: return "q_proj";
    case Part::wk: return "k_proj";
    case Part::wv: return "v_proj";
    case Part::wo: return "o_proj";
    case Part::gate: return "gate_proj";
    case Part::up: return "up_proj";
    case Part::down: return "down_proj";
    default: return "lm_head";
  }
}

std::string peft_tensor(const Trained& t) {
  std::string name = "base_model.model.";
  if (part_is_per_layer(t.part)) {
    const bool mlp = t.part == Part::gate || t.part == Part::up || t.part == Part::down;
    name += "model.layers." + std::to_string(t.layer) + (mlp ? ".mlp." : ".self_attn.");
  }
  return name + std::string(module_name(t.part)) + (t.kind == Trained::Kind::lora_a   ? ".lora_A.weight"
                                                : t.kind == Trained::Kind::lora_b ? ".lora_B.weight"
                                                                                  : ".lora_magnitude_vector");
}

std::vector<std::uint64_t> peft_shape(const Trained& t) {
  if (t.kind == Trained::Kind::magnitude) return {t.rows};
  return {t.rows, t.columns};
}

std::string config_text(const Trainer& trainer) {
  const TrainOptions& o = trainer.options();
  io::JsonText json;
  json.raw("auto_mapping", "null");
  json.text("base_model_name_or_path", trainer.model().name());
  json.text("bias", "none");
  json.flag("fan_in_fan_out", false);
  json.flag("inference_mode", true);
  json.flag("init_lora_weights", true);
  json.number("lora_alpha", o.alpha);
  json.number("lora_dropout", o.dropout);
  json.raw("modules_to_save", "null");
  json.text("peft_type", "LORA");
  json.whole("r", o.rank);
  std::string targets;
  for (std::uint32_t i = 0; i < 8; ++i) {
    constexpr Part parts[] = {Part::wq, Part::wk, Part::wv, Part::wo, Part::gate, Part::up, Part::down, Part::output};
    if (o.targets >> i & 1) targets += (targets.empty() ? "" : ", ") + io::json_quoted(module_name(parts[i]));
  }
  json.raw("target_modules", "[" + targets + "]");
  json.text("task_type", "CAUSAL_LM");
  json.flag("use_dora", o.dora);
  json.flag("use_rslora", o.rank_stabilized);
  return json.str() + "\n";
}

void write_file(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

// Rows of B and magnitudes for q and k as Hugging Face has them: its s E/2 + j of a head is Meta's 2 j + s.
std::vector<float> hf_rows(const Trained& t, const float* x, const Config& c) {
  std::vector<float> out(x, x + t.size());
  if (t.kind == Trained::Kind::lora_a || (t.part != Part::wq && t.part != Part::wk)) return out;
  const std::size_t E = c.E, r = t.columns;
  for (std::size_t head = 0; head < t.rows / E; ++head)
    for (std::size_t s = 0; s < 2; ++s)
      for (std::size_t j = 0; j < E / 2; ++j)
        std::copy_n(x + (head * E + 2 * j + s) * r, r, out.data() + (head * E + s * E / 2 + j) * r);
  return out;
}

class TrainedSource final : public ChangedSource {
 public:
  explicit TrainedSource(const Trainer& trainer) : ChangedSource(trainer.model().source()), trainer_(trainer) {
    for (const Trained& t : trainer.trainable().tensors()) change(t.part, t.layer);
  }

  // Of a shape without a file, the vocabulary that was opened beside it.
  VocabSource vocab() const override {
    VocabSource own = base_->vocab();
    const auto& tokenizer = trainer_.model().tokenizer();
    if (own.kind == VocabSource::Kind::none && tokenizer) own.kind = VocabSource::Kind::arrays, own.arrays = tokenizer->vocab();
    return own;
  }

 private:
  void rows(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, float* out) const override {
    for (const Trained& t : trainer_.trainable().tensors())
      if (t.part == part && t.layer == layer) std::copy_n(trainer_.trainable().weights() + t.offset + row * t.columns, count * t.columns, out);
  }
  const Trainer& trainer_;
};

class MergedSource final : public ChangedSource {
 public:
  MergedSource(std::shared_ptr<const WeightSource> base, std::vector<AdapterUse> uses) : ChangedSource(std::move(base)), uses_(std::move(uses)) {
    for (const AdapterUse& use : uses_)
      for (const Adapter::Module& m : use.adapter->modules()) {
        const bool shared = m.part == Part::output && !(base_->find(Part::output, 0) && base_->find(Part::token_embedding, 0));
        if (shared && !base_->find(Part::token_embedding, 0))
          fail(Code::unsupported, use.adapter->name() + ": adapts the head, which " + base_->name() + " stores as its embedding too: it cannot be merged");
        if (shared) untie();
        else change(m.part, m.layer);
      }
  }

 private:
  void rows(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, float* out) const override {
    const Part from = base_->find(part, layer) ? part : Part::token_embedding;
    const WeightInfo& stored = *base_->find(from, layer);
    const auto columns = static_cast<std::size_t>(stored.columns), bytes = static_cast<std::size_t>(row_bytes(stored.type, columns));
    std::vector<std::byte> raw(bytes * count);
    std::vector<float> base;
    base_->copy(from, layer, row, count, raw.data());
    for (std::uint64_t i = 0; i < count; ++i) {
      float* w = out + i * columns;
      decode_row(stored.type, raw.data() + i * bytes, w, columns);
      base.assign(w, w + columns);
      for (const AdapterUse& use : uses_)
        if (const Adapter::Module* m = use.adapter->find(part, layer)) merge(*m, use.scale, static_cast<std::size_t>(row + i), base, w);
    }
  }
  // DoRA's norm is of the base with this adapter alone, as it is when several are live.
  static void merge(const Adapter::Module& m, float scale, std::size_t row, const std::vector<float>& base, float* w) {
    const std::size_t columns = base.size();
    std::vector<float> change(columns);
    for (std::uint32_t k = 0; k < m.rank; ++k) {
      const float b = scale * m.scale * m.b[row * m.rank + k];
      const float* a = m.a.data() + static_cast<std::size_t>(k) * columns;
      for (std::size_t j = 0; j < columns; ++j) change[j] += b * a[j];
    }
    double sum = 0;
    for (std::size_t j = 0; j < columns; ++j) {
      const double v = base[j] + change[j];
      sum += v * v;
      w[j] += change[j];
    }
    if (m.m.size() == 0) return;
    const float factor = sum > 0 ? static_cast<float>(m.m[row] / std::sqrt(sum)) : 0.0f;
    for (std::size_t j = 0; j < columns; ++j) w[j] *= factor;
  }
  std::vector<AdapterUse> uses_;
};

}  // namespace

void ChangedSource::change(Part part, std::uint32_t layer) {
  WeightInfo info = *base_->find(part, layer);
  info.type = DType::f32;
  changed_[{part, layer}] = info;
}

// The head gets a tensor of its own.
void ChangedSource::untie() {
  WeightInfo info = *base_->find(Part::token_embedding, 0);
  info.type = DType::f32;
  info.name = "output.weight";
  changed_[{Part::output, 0}] = info;
}

const WeightInfo* ChangedSource::find(Part part, std::uint32_t layer) const {
  const auto found = changed_.find({part, layer});
  return found == changed_.end() ? base_->find(part, layer) : &found->second;
}

const std::byte* ChangedSource::borrow(Part part, std::uint32_t layer) const {
  return changed_.count({part, layer}) ? nullptr : base_->borrow(part, layer);
}

void ChangedSource::copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const {
  const auto found = changed_.find({part, layer});
  if (found == changed_.end()) return base_->copy(part, layer, row, count, dst);
  std::vector<float> values(static_cast<std::size_t>(count * found->second.columns));
  rows(part, layer, row, count, values.data());
  std::memcpy(dst, values.data(), values.size() * sizeof(float));
}

std::shared_ptr<const WeightSource> trained_source(const Trainer& trainer) {
  if (trainer.options().method != TrainMethod::full) fail(Code::state, "this run trains an adapter, not the model");
  return std::make_shared<TrainedSource>(trainer);
}

std::shared_ptr<const WeightSource> merged_source(std::shared_ptr<const WeightSource> base, std::vector<AdapterUse> uses) {
  return std::make_shared<MergedSource>(std::move(base), std::move(uses));
}

void save_peft(const Trainer& trainer, const std::string& folder) {
  if (trainer.options().method != TrainMethod::lora) fail(Code::state, "this run trains the whole model, not an adapter");
  std::vector<io::SafetensorsEntry> entries;
  const auto& tensors = trainer.trainable().tensors();
  for (const Trained& t : tensors) entries.push_back({peft_tensor(t), DType::f32, peft_shape(t), t.size() * sizeof(float)});
  const io::SafetensorsLayout layout = io::safetensors_layout(entries, {{"format", "pt"}});
  AtomicFolder out(folder);
  write_file(out.member("adapter_config.json"), config_text(trainer));
  AtomicFile file(out.member("adapter_model.safetensors"));
  file.write(layout.header.data(), layout.header.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<float> rows = hf_rows(tensors[i], trainer.trainable().weights() + tensors[i].offset, trainer.model().config());
    file.seek(layout.offsets[i]);
    file.write(rows.data(), rows.size() * sizeof(float));
  }
  file.commit();
  out.commit();
}

std::shared_ptr<const Adapter> current_adapter(const Trainer& trainer) {
  if (trainer.options().method != TrainMethod::lora) fail(Code::state, "this run trains the whole model, not an adapter");
  const TrainOptions& o = trainer.options();
  const float scale = static_cast<float>(o.rank_stabilized ? o.alpha / std::sqrt(static_cast<double>(o.rank)) : o.alpha / o.rank);
  std::vector<Adapter::Module> modules;
  const auto& tensors = trainer.trainable().tensors();
  Memory& memory = trainer.model().runtime()->memory;
  for (const Trained& t : tensors) {  // A, its B, its magnitudes
    if (t.kind == Trained::Kind::lora_a) modules.push_back({t.part, t.layer, o.rank, scale, {}, {}, {}});
    Adapter::Module& m = modules.back();
    Buffer<float>& to = t.kind == Trained::Kind::lora_a ? m.a : t.kind == Trained::Kind::lora_b ? m.b : m.m;
    to = Buffer<float>(memory, t.size(), "adapter", Raw{});
    std::copy_n(trainer.trainable().weights() + t.offset, t.size(), to.data());
  }
  return std::make_shared<const Adapter>("the adapter in training", std::move(modules));
}

}  // namespace puna
