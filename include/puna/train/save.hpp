// What training leaves, on disk: an adapter as PEFT's folder, or a source of the changed weights for a sink.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "puna/infer/adapter.hpp"
#include "puna/train/trainer.hpp"

namespace puna {

// adapter_config.json and adapter_model.safetensors, q and k in Hugging Face's row order. The folder is whole under its name or
// not there. Error(state) for a run that trains the whole model.
void save_peft(const Trainer& trainer, const std::string& folder);

// An adapter as a GGUF that llama.cpp reads; Error(unsupported) for what that form does not have.
void save_gguf_adapter(const Adapter& adapter, const std::string& path);

// The adapter as it is now, for a session beside the training.
std::shared_ptr<const Adapter> current_adapter(const Trainer& trainer);

// A model's source with some weights replaced by f32 rows.
class ChangedSource : public WeightSource {
 public:
  explicit ChangedSource(std::shared_ptr<const WeightSource> base) : base_(std::move(base)) {}
  std::string format() const override { return base_->format(); }
  std::string name() const override { return base_->name(); }
  const Hyperparameters& hyperparameters() const override { return base_->hyperparameters(); }
  const WeightInfo* find(Part part, std::uint32_t layer) const override;
  const std::byte* borrow(Part part, std::uint32_t layer) const override;
  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override;
  VocabSource vocab() const override { return base_->vocab(); }
  std::vector<MetadataEntry> metadata() const override { return base_->metadata(); }
  const Gguf* gguf() const override { return base_->gguf(); }
  std::vector<std::shared_ptr<const File>> files() const override { return base_->files(); }

 protected:
  void change(Part part, std::uint32_t layer);
  void untie();
  virtual void rows(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, float* out) const = 0;
  std::shared_ptr<const WeightSource> base_;

 private:
  std::map<std::pair<Part, std::uint32_t>, WeightInfo> changed_;
};

// The weights of a full run; the trainer outlives it.
std::shared_ptr<const WeightSource> trained_source(const Trainer& trainer);
// W + scale (alpha / r) B A, in f32, for every adapter. A head that is tied to the embedding becomes a matrix of its own where it is adapted.
std::shared_ptr<const WeightSource> merged_source(std::shared_ptr<const WeightSource> base, std::vector<AdapterUse> uses);

}  // namespace puna
