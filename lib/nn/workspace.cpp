#include "puna/nn/workspace.hpp"

#include <algorithm>

#include "puna/base/carver.hpp"

namespace puna {
namespace {

struct RowCarver : Carver {
  Rows rows(std::uint64_t count, std::uint32_t columns, bool quantized) {
    Rows r;
    r.columns = columns;
    r.x = take<float>(count, columns);
    if (quantized) r.blocks = take<ActBlock>(count, columns / 32 + 1);
    return r;
  }
};

Activations carve(RowCarver& to, const Config& c, bool quantized, std::uint64_t T, std::uint64_t L) {
  Activations a;
  a.x = to.take<float>(T, c.D);
  a.h = to.rows(T, c.D, quantized);
  a.q = to.take<float>(T, c.q_dim());
  a.k = to.take<float>(T, c.kv_dim());
  a.v = to.take<float>(T, c.kv_dim());
  a.o = to.rows(T, c.q_dim(), quantized);
  a.gate = to.take<float>(T, c.F);
  a.up = to.take<float>(T, c.F);
  a.f = to.rows(T, c.F, quantized);
  a.y = to.take<float>(T, c.D);
  a.last = to.rows(L, c.D, quantized);
  a.logits = to.take<float>(L, c.V);
  return a;
}

std::size_t scratch_bytes(const Config& c) {
  return round_up(std::max(matmul_scratch(std::max({c.D, c.F, c.q_dim()})), attend_scratch(std::max(c.G(), attend_rows), c.E)), Memory::alignment);
}

}  // namespace

std::uint64_t Workspace::bytes(const Config& c, bool quantized, std::uint32_t tokens, std::uint32_t logits, std::uint32_t workers) {
  RowCarver measure{{nullptr}};
  carve(measure, c, quantized, tokens, logits);
  return measure.used + size_product(scratch_bytes(c), workers);
}

Workspace::Workspace(Memory& memory, const Config& c, const Params& p, std::uint32_t tokens, std::uint32_t logits,
                     std::uint32_t workers)
    : slab_(memory, bytes(c, any_quantized(p), tokens, logits, workers), "workspace", Raw{}), scratch_stride_(scratch_bytes(c)) {
  const bool quantized = any_quantized(p);
  RowCarver to{{slab_.data()}};
  a_ = carve(to, c, quantized, tokens, logits);
  scratch_offset_ = to.used;
  // A row that no block divides never meets a quantized weight, so its blocks are not filled.
  for (Rows* r : {&a_.h, &a_.o, &a_.f, &a_.last})
    if (r->columns % 32 != 0) r->blocks = nullptr;
}

bool any_quantized(const Params& p) {
  const auto q = [](const Matrix& m) { return info(m.type).quantized(); };
  if (q(p.output)) return true;
  return std::any_of(p.blocks.begin(), p.blocks.end(), [&](const BlockParams& b) {
    return q(b.wq) || q(b.wk) || q(b.wv) || q(b.wo) || q(b.gate) || q(b.up) || q(b.down);
  });
}

}  // namespace puna
