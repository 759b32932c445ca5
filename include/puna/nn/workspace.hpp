// Activations of a pass of at most T tokens: one slab, sized up front, carved here and nowhere else.
#pragma once

#include "puna/base/memory.hpp"
#include "puna/nn/attention.hpp"
#include "puna/nn/compute.hpp"
#include "puna/nn/params.hpp"

namespace puna {

struct Activations {
  float* x = nullptr;      // [T][D] the residual stream
  Rows h;                  // [T][D] after a norm
  float* q = nullptr;      // [T][H E]
  float* k = nullptr;      // [T][K E]
  float* v = nullptr;      // [T][K E]
  Rows o;                  // [T][H E] attention's output
  float* gate = nullptr;   // [T][F]
  float* up = nullptr;     // [T][F]
  Rows f;                  // [T][F] after swiglu
  float* y = nullptr;      // [T][D] a product before it is added to x
  Rows last;               // [L][D] the rows whose logits are wanted, normed
  float* logits = nullptr; // [L][V]
};

class Workspace {
 public:
  Workspace() = default;
  // tokens: T; logits: L; workers: how many scratches.
  Workspace(Memory& memory, const Config& c, const Params& p, std::uint32_t tokens, std::uint32_t logits, std::uint32_t workers);

  Activations& activations() { return a_; }
  const Activations& activations() const { return a_; }
  std::byte* scratch() { return slab_.data() + scratch_offset_; }
  std::size_t scratch_stride() const { return scratch_stride_; }

  // The bytes that the constructor will ask for. `quantized`: any weight is of a block type.
  static std::uint64_t bytes(const Config& c, bool quantized, std::uint32_t tokens, std::uint32_t logits, std::uint32_t workers);

 private:
  Buffer<std::byte> slab_;
  std::size_t scratch_offset_ = 0;
  std::size_t scratch_stride_ = 0;
  Activations a_;
};

bool any_quantized(const Params& p);

}  // namespace puna
