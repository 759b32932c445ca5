// A low-rank adapter beside a model: y += scale * (alpha / r) B A x, or DoRA's (nn/dora.hpp). PEFT folders and GGUF adapters; rows in Meta's order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "puna/infer/model.hpp"
#include "puna/nn/adapt.hpp"

namespace puna {

class Adapter {
 public:
  struct Module {
    Part part;
    std::uint32_t layer;
    std::uint32_t rank;
    float scale;          // alpha / r, or alpha / sqrt(r)
    Buffer<float> a, b;   // [r][columns], [rows][r]
    Buffer<float> m{};    // [rows], DoRA's magnitudes; else empty
  };

  Adapter(std::string name, std::vector<Module> modules) : name_(std::move(name)), modules_(std::move(modules)) {}
  // A folder with adapter_config.json, or a GGUF. Every shape is checked against `config`; Error(format | unsupported) names
  // file, tensor and value.
  static std::shared_ptr<const Adapter> open(const std::string& path, const Config& config, Memory& memory);

  const std::string& name() const { return name_; }
  const std::vector<Module>& modules() const { return modules_; }
  const Module* find(Part part, std::uint32_t layer) const;
  std::uint32_t max_rank() const;

 private:
  std::string name_;
  std::vector<Module> modules_;
};

struct AdapterUse {
  std::shared_ptr<const Adapter> adapter;
  float scale = 1.0f;
};

// A model's products with what is added to each, for a session.
class AdapterSet {
 public:
  AdapterSet() = default;
  // tokens: of a pass.
  AdapterSet(const Model& model, std::vector<AdapterUse> uses, std::uint32_t tokens);
  const std::vector<AdapterUse>& uses() const { return uses_; }
  const Adaptation* adaptation() const { return uses_.empty() ? nullptr : &adaptation_; }

 private:
  std::vector<AdapterUse> uses_;
  Buffer<float> inner_;
  std::vector<Buffer<float>> factors_;  // of DoRA's modules
  Adaptation adaptation_;
};

// |W + scale B A| of every row (nn/dora.hpp).
void lora_row_norms(const Model& model, const Matrix& w, std::uint32_t rank, const float* a, const float* b, float scale, float* norms);

// Where a model keeps a part.
const Matrix& model_matrix(const Model& model, Part part, std::uint32_t layer);

}  // namespace puna
