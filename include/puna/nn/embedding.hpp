// x = E[id]: a row of the embedding, decoded from whatever type it is stored in.
#pragma once

#include <algorithm>

#include "puna/nn/compute.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {

// Backward: dE[id] += g; tied to the head, its gradient is added.

// A negative id marks a row that was given as an embedding: it is copied from `given` [T][D].
inline void embedding(const Compute& c, float* x, const Matrix& w, const std::int32_t* ids, const float* given, std::uint32_t T) {
  const std::size_t D = w.columns;
  c.pass(T, static_cast<std::uint64_t>(T) * D, [&](std::uint32_t t, std::uint32_t) {
    if (ids[t] < 0)
      std::copy(given + t * D, given + (t + 1) * D, x + t * D);
    else
      decode_matrix_row(w, static_cast<std::size_t>(ids[t]), x + t * D);
  });
}

// Rows of one id may come from any token, so a tile is a stretch of columns.
inline void embedding_back(const Compute& c, float* dw, const float* g, const std::int32_t* ids, std::uint32_t T, std::size_t D) {
  constexpr std::size_t columns = 64;
  c.pass(static_cast<std::uint32_t>((D + columns - 1) / columns), static_cast<std::uint64_t>(T) * D, [&](std::uint32_t tile, std::uint32_t) {
    const std::size_t first = tile * columns, end = std::min(D, first + columns);
    for (std::uint32_t t = 0; t < T; ++t)
      for (std::size_t i = first; i < end; ++i) dw[static_cast<std::size_t>(ids[t]) * D + i] += g[t * D + i];
  });
}

}  // namespace puna
