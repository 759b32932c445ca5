#include "puna/train/nf4_base.hpp"

#include "puna/base/carver.hpp"

namespace puna {
namespace {

constexpr TrainLinear TrainBlock::* projections[] = {&TrainBlock::wq, &TrainBlock::wk,   &TrainBlock::wv,  &TrainBlock::wo,
                                                     &TrainBlock::gate, &TrainBlock::up, &TrainBlock::down};
constexpr Part parts[] = {Part::wq, Part::wk, Part::wv, Part::wo, Part::gate, Part::up, Part::down};

struct Places {
  std::uint8_t *codes, *absmax;
  float* scales;
};

Places lay_out(Carver& to, const Config& config, Part part) {
  const PartShape s = part_shape(config, part);
  const std::size_t n = static_cast<std::size_t>(s.rows) * s.columns;
  return {to.take<std::uint8_t>(nf4_code_bytes(n), 1), to.take<std::uint8_t>(nf4_blocks(n), 1), to.take<float>(nf4_groups(n), 1)};
}

// Rows in runs that begin and end at a block; the second level when all are known.
Nf4View encode(const Matrix& w, const Places& to, std::vector<float>& rows, std::vector<float>& absmax) {
  const std::size_t n = static_cast<std::size_t>(w.rows) * w.columns;
  std::uint32_t run = 1;
  while (static_cast<std::size_t>(run) * w.columns % nf4_block != 0) run *= 2;  // at most 64 rows
  rows.resize(static_cast<std::size_t>(run) * w.columns);
  absmax.resize(nf4_blocks(n));
  for (std::uint32_t r = 0; r < w.rows; r += run) {
    const std::uint32_t count = std::min(run, w.rows - r);
    for (std::uint32_t i = 0; i < count; ++i) decode_matrix_row(w, r + i, rows.data() + static_cast<std::size_t>(i) * w.columns);
    const std::size_t at = static_cast<std::size_t>(r) * w.columns;
    nf4_encode(rows.data(), static_cast<std::size_t>(count) * w.columns, to.codes + at / 2, absmax.data() + at / nf4_block);
  }
  const float offset = nf4_offset(absmax.data(), absmax.size());
  nf4_compress(absmax.data(), absmax.size(), offset, to.absmax, to.scales);
  return {to.codes, to.absmax, to.scales, offset};
}

}  // namespace

Nf4Base::Nf4Base(const Model& model, TrainParams& params) {
  const Config& c = model.config();
  slab_ = Buffer<std::byte>(model.runtime()->memory, static_cast<std::size_t>(bytes(c)), "NF4 weights", Raw{});
  views_.reserve(static_cast<std::size_t>(c.N) * std::size(parts));
  Carver to{slab_.data()};
  std::vector<float> rows, absmax;
  for (TrainBlock& block : params.blocks)
    for (std::size_t i = 0; i < std::size(parts); ++i)
      views_.push_back(encode((block.*projections[i]).w, lay_out(to, c, parts[i]), rows, absmax));
  point(params);
}

void Nf4Base::point(TrainParams& params) const {
  const Nf4View* next = views_.data();
  for (TrainBlock& block : params.blocks)
    for (const auto projection : projections) (block.*projection).nf4 = next++;
}

std::uint64_t Nf4Base::bytes(const Config& config) {
  Carver to{nullptr};
  for (std::uint32_t layer = 0; layer < config.N; ++layer)
    for (const Part part : parts) lay_out(to, config, part);
  return to.used;
}

}  // namespace puna
