// What every layer needs to run: the kernels, the pass it is part of, and a scratch for each worker.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "puna/kernels/table.hpp"
#include "puna/nn/pass.hpp"

namespace puna {

struct Compute;
struct Rows;
struct Product;

// Sees the rows that go into matrix products: for activation statistics.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  // Before the products are computed. Its work must be operations of the pass, so that a resumed pass counts it once.
  virtual void see(const Compute& c, const Rows& x, std::uint32_t T, std::initializer_list<Product> products) = 0;
};

struct Compute {
  const Kernels& kernels;
  Pass& pass;
  std::byte* scratch;  // [workers][scratch_stride], 64-byte aligned
  std::size_t scratch_stride;
  LinearObserver* observer = nullptr;
  const struct Adaptation* adaptation = nullptr;  // null: the model as it is

  std::byte* worker_scratch(std::uint32_t worker) const { return scratch + worker * scratch_stride; }
};

// Rows of activations on their way into matrix products: floats, and the same as int8 blocks where a weight wants them.
struct Rows {
  float* x = nullptr;          // [T][columns]
  ActBlock* blocks = nullptr;  // [T][columns / 32]; null when no weight behind it is quantized
  std::uint32_t columns = 0;

  float* row(std::size_t t) const { return x + t * columns; }
  // To be called for each row when its floats are complete.
  void seal(const Kernels& kernels, std::size_t t) const {
    if (blocks) kernels.quantize(row(t), columns, blocks + t * (columns / 32));
  }
};

}  // namespace puna
