// Inputs for the kernel tests: rows of any stored type with every bit of the codes in play, and activations.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "puna/base/half.hpp"
#include "puna/kernels/table.hpp"
#include "puna/tensor/blocks.hpp"
#include "puna/tensor/codec.hpp"
#include "puna/tensor/dtype.hpp"
#include "support.hpp"

namespace puna_test {

using puna::DType;

inline constexpr DType all_types[] = {DType::f32,  DType::f16,  DType::bf16, DType::q4_0, DType::q4_1,   DType::q5_0,
                                      DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k, DType::q4_k,   DType::q5_k,
                                      DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::q8_f32};

inline std::string name_of(DType type) { return std::string(puna::info(type).name); }

// Whether a path fuses its multiply-adds. Those that do agree with the plain loops bit for bit on quantized types.
inline bool fuses(puna::Isa isa) { return isa != puna::Isa::baseline; }

inline float uniform(std::mt19937& rng, float low, float high) {
  return low + (high - low) * (static_cast<float>(rng() >> 8) * 0x1p-24f);
}

inline std::vector<float> floats(std::size_t n, std::uint32_t seed, float reach = 1.0f) {
  std::mt19937 rng(seed);
  std::vector<float> out(n);
  for (float& x : out) x = uniform(rng, -reach, reach);
  return out;
}

// Where a block's halves stand; -1 for none.
struct HalfPlaces {
  int d, m;
};
inline HalfPlaces half_places(DType type) {
  switch (type) {
    case DType::q4_0:
    case DType::q5_0:
    case DType::q8_0:
    case DType::iq4_nl:
    case DType::iq4_xs: return {0, -1};
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k: return {0, 2};
    case DType::q2_k: return {80, 82};
    case DType::q3_k: return {108, -1};
    case DType::q6_k: return {208, -1};
    default: return {-1, -1};
  }
}

// Random rows. With `plain`, every scale field d is 1 and every minimum 0, so that results are integers and exact.
inline std::vector<std::byte> random_rows(DType type, std::size_t rows, std::size_t columns, std::uint32_t seed, bool plain = false) {
  std::mt19937 rng(seed);
  const auto& t = puna::info(type);
  std::vector<std::byte> out(rows * puna::row_bytes(type, columns));
  if (!t.quantized()) {
    for (std::size_t i = 0; i < rows * columns; ++i) {
      const float x = plain ? static_cast<float>(static_cast<int>(rng() % 17) - 8) : uniform(rng, -1, 1);
      if (type == DType::f32) std::memcpy(&out[4 * i], &x, 4);
      const auto half = type == DType::f16 ? puna::to_half(x).bits : puna::to_bfloat16(x).bits;
      if (type != DType::f32) std::memcpy(&out[2 * i], &half, 2);
    }
    return out;
  }
  for (auto& b : out) b = static_cast<std::byte>(rng() >> 11);
  for (std::size_t at = 0; at < out.size(); at += t.block_bytes) {
    const auto places = half_places(type);
    const auto put = [&](int place, float x) {
      const auto half = puna::to_half(x).bits;
      if (place >= 0) std::memcpy(&out[at + static_cast<std::size_t>(place)], &half, 2);
    };
    put(places.d, plain ? 1.0f : uniform(rng, -0.05f, 0.05f));
    put(places.m, plain ? 0.0f : uniform(rng, -0.05f, 0.05f));
    const float d = plain ? 1.0f : uniform(rng, -0.05f, 0.05f);
    if (type == DType::q8_f32) std::memcpy(&out[at], &d, 4);
  }
  return out;
}

// Activations of `tokens` tokens, as a type's kernel wants them.
struct Acts {
  std::vector<float> values;
  std::vector<puna::ActBlock> blocks;
  std::size_t stride = 0;
  const void* data(DType type) const {
    return puna::info(type).quantized() ? static_cast<const void*>(blocks.data()) : values.data();
  }
};

inline Acts make_acts(DType type, std::size_t tokens, std::size_t columns, std::uint32_t seed) {
  Acts out;
  out.values = floats(tokens * columns, seed, 2.0f);
  out.stride = columns;
  if (puna::info(type).quantized()) {
    out.stride = columns / 32;
    out.blocks.resize(tokens * out.stride);
    puna::kernels_for(puna::Isa::reference)->quantize(out.values.data(), tokens * columns, out.blocks.data());
  }
  return out;
}

// One matmul with scratch of its own, on 64 bytes, filled with NaN so that nothing may rely on it.
struct Product {
  DType type;
  const std::byte* weights;
  std::size_t stride;
  std::size_t rows, columns, tokens;
  const Acts& acts;
  std::size_t first_token = 0;
  std::uint32_t pack = 0;

  void run(const puna::Kernels& kernels, float* y, std::size_t y_stride) const {
    const std::size_t bytes = puna::matmul_scratch(static_cast<std::uint32_t>(columns));
    std::vector<std::byte> scratch(bytes + 128, std::byte{0xff});
    auto* aligned = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64;
    puna::MatmulTile tile{};
    tile.type = type;
    tile.weights = weights;
    tile.weight_stride = stride;
    tile.rows = static_cast<std::uint32_t>(rows);
    tile.columns = static_cast<std::uint32_t>(columns);
    const bool quantized = puna::info(type).quantized();
    tile.acts = quantized ? static_cast<const void*>(acts.blocks.data() + first_token * acts.stride)
                          : acts.values.data() + first_token * acts.stride;
    tile.act_stride = acts.stride;
    tile.tokens = static_cast<std::uint32_t>(tokens);
    tile.y = y;
    tile.y_stride = y_stride;
    tile.scratch = aligned;
    tile.pack = pack;
    kernels.matmul(tile);
    for (std::size_t i = bytes; i < bytes + 64; ++i) REQUIRE(aligned[i] == std::byte{0xff});  // no more than it asked for
  }
  std::vector<float> run(const puna::Kernels& kernels) const {
    std::vector<float> y(rows * tokens, std::nanf(""));
    run(kernels, y.data(), rows);
    return y;
  }
};

template <class F>
void on_every_isa(const F& f) {
  for (const puna::Isa isa : puna::available_isas()) {
    const auto& kernels = *puna::kernels_for(isa);
    CAPTURE(kernels.name);
    covered_isa(kernels.name);
    f(kernels);
  }
}

}  // namespace puna_test
