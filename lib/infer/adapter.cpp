#include "puna/infer/adapter.hpp"

#include <algorithm>
#include <cmath>

#include "puna/nn/dora.hpp"

namespace puna {

const Matrix& model_matrix(const Model& model, Part part, std::uint32_t layer) {
  const Params& p = model.params();
  const BlockParams* b = part_is_per_layer(part) ? &p.blocks[layer] : nullptr;
  switch (part) {
    case Part::wq: return b->wq;
    case Part::wk: return b->wk;
    case Part::wv: return b->wv;
    case Part::wo: return b->wo;
    case Part::gate: return b->gate;
    case Part::up: return b->up;
    case Part::down: return b->down;
    case Part::output: return p.output;
    default: fail(Code::internal, "an adapter of " + std::string(part_name(part)));
  }
}

const Adapter::Module* Adapter::find(Part part, std::uint32_t layer) const {
  for (const Module& m : modules_)
    if (m.part == part && m.layer == layer) return &m;
  return nullptr;
}

std::uint32_t Adapter::max_rank() const {
  std::uint32_t most = 0;
  for (const Module& m : modules_) most = std::max(most, m.rank);
  return most;
}

void lora_row_norms(const Model& model, const Matrix& w, std::uint32_t rank, const float* a, const float* b, float scale, float* norms) {
  Runtime& runtime = *model.runtime();
  Pass pass(runtime.tasks, runtime.tasks.width());
  pass.start();
  pass.resume({}, nullptr);
  constexpr std::size_t stride = (product_scratch + Memory::alignment - 1) / Memory::alignment * Memory::alignment;
  Buffer<std::byte> scratch(runtime.memory, stride * pass.width(), "adapters' rows", Raw{});
  row_norms({machine_kernels(), pass, scratch.data(), stride}, norms, w, rank, a, b, scale);
}

AdapterSet::AdapterSet(const Model& model, std::vector<AdapterUse> uses, std::uint32_t tokens) : uses_(std::move(uses)) {
  const auto view = [](const Buffer<float>& data, std::size_t columns) {
    return Matrix{DType::f32, reinterpret_cast<const std::byte*>(data.data()), static_cast<std::uint32_t>(data.size() / columns),
                  static_cast<std::uint32_t>(columns), columns * sizeof(float), 0};
  };
  std::uint32_t rank = 0;
  for (const AdapterUse& use : uses_) {
    if (!std::isfinite(use.scale)) fail(Code::argument, use.adapter->name() + ": its scale is not finite");
    rank = std::max(rank, use.adapter->max_rank());
    for (const Adapter::Module& m : use.adapter->modules()) {
      if (part_is_per_layer(m.part) && m.layer >= model.config().N)
        fail(Code::argument, use.adapter->name() + ": adapts layer " + std::to_string(m.layer) + ", the model has " + std::to_string(model.config().N));
      const Matrix& w = model_matrix(model, m.part, m.layer);
      if (m.a.size() != static_cast<std::size_t>(m.rank) * w.columns || m.b.size() != static_cast<std::size_t>(m.rank) * w.rows)
        fail(Code::argument, use.adapter->name() + ": its " + std::string(part_name(m.part)) + " does not have the model's shape");
      const float scale = m.scale * use.scale;
      const float* factor = nullptr;
      if (m.m.size() != 0) {
        if (m.m.size() != w.rows) fail(Code::argument, use.adapter->name() + ": its " + std::string(part_name(m.part)) + " does not have the model's shape");
        Buffer<float> norms(model.runtime()->memory, w.rows, "adapters' rows", Raw{});
        lora_row_norms(model, w, m.rank, m.a.data(), m.b.data(), scale, norms.data());
        for (std::uint32_t i = 0; i < w.rows; ++i) norms[i] = dora_factor(m.m[i], norms[i]);
        factor = factors_.emplace_back(std::move(norms)).data();
      }
      adaptation_.all.push_back({&w, view(m.a, w.columns), view(m.b, m.rank), scale, factor});
    }
  }
  std::stable_sort(adaptation_.all.begin(), adaptation_.all.end(), [](const Adapted& a, const Adapted& b) { return std::less<>()(a.w, b.w); });
  if (uses_.empty()) return;
  inner_ = Buffer<float>(model.runtime()->memory, size_product(tokens, rank), "adapters' rows");
  adaptation_.inner = inner_.data();
}

}  // namespace puna
