// Models that are made as they are read: f32 weights of any shape, alike on every machine.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "puna/base/rng.hpp"
#include "puna/io/weight_source.hpp"
#include "puna/nn/config.hpp"

namespace puna_test {

struct Shape {
  const char* name;
  std::uint64_t dim, ffn, layers, heads, kv_heads, vocab;
  bool tied;
};
class Made final : public puna::WeightSource {
 public:
  explicit Made(const Shape& s) : name_(s.name) {
    h_.dim = s.dim, h_.ffn_dim = s.ffn, h_.layers = s.layers, h_.heads = s.heads, h_.kv_heads = s.kv_heads;
    h_.vocab = s.vocab, h_.context = 64;
    const puna::Config c = puna::make_config(h_, name_);
    for (int p = 0; p < puna::part_count; ++p) {
      const auto shape = puna::part_shape(c, static_cast<puna::Part>(p));
      infos_[p] = {std::string(puna::part_name(static_cast<puna::Part>(p))), puna::DType::f32, shape.rows,
                   shape.columns};
    }
    tied_ = s.tied;
  }
  std::string format() const override { return "made"; }
  std::string name() const override { return name_; }
  const puna::Hyperparameters& hyperparameters() const override { return h_; }
  const puna::WeightInfo* find(puna::Part part, std::uint32_t) const override {
    return tied_ && part == puna::Part::output ? nullptr : &infos_[static_cast<int>(part)];
  }
  const std::byte* borrow(puna::Part, std::uint32_t) const override { return nullptr; }
  void copy(puna::Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count,
            std::byte* dst) const override {
    const std::uint64_t columns = infos_[static_cast<int>(part)].columns;
    for (std::uint64_t r = row; r < row + count; ++r) {
      puna::Rng rng(static_cast<std::uint64_t>(part) << 32 | layer, r);
      for (std::uint64_t i = 0; i < columns; ++i) {
        const std::uint64_t bits = rng.next();
        // A sum of four: more small values than large ones, as weights have.
        int sum = 0;
        for (int k = 0; k < 4; ++k) sum += static_cast<int>(bits >> (16 * k) & 0xffff) - 32768;
        const float x = static_cast<float>(sum) * 0x1.0p-20f;
        std::memcpy(dst + ((r - row) * columns + i) * 4, &x, 4);
      }
    }
  }
  puna::VocabSource vocab() const override { return {}; }
  std::vector<puna::MetadataEntry> metadata() const override { return {}; }
  std::vector<std::shared_ptr<const puna::File>> files() const override { return {}; }

 private:
  std::string name_;
  puna::Hyperparameters h_;
  puna::WeightInfo infos_[puna::part_count];
  bool tied_ = false;
};

}  // namespace puna_test
