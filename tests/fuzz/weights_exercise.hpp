// What a loader does with a file of unknown bytes: open, find, borrow, copy, vocabulary, metadata, inspect. Only
// puna::Error may come of it; the same bytes in memory and through a callback must give the same answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/io/weight_source.hpp"

namespace puna_fuzz {

// The bytes are checked by reading them: a borrowed pointer past the end is the sanitizer's to find.
inline std::uint64_t sum_of(const std::byte* p, std::size_t n) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum = sum * 31 + std::to_integer<std::uint64_t>(p[i]);
  return sum;
}

inline std::uint64_t exercise(const puna::WeightSource& source) {
  std::uint64_t sum = 0;
  const puna::Hyperparameters& h = source.hyperparameters();
  std::vector<std::byte> row;
  for (std::uint32_t layer = 0; layer < h.layers; ++layer)
    for (int p = 0; p < puna::part_count; ++p) {
      const auto part = static_cast<puna::Part>(p);
      const puna::WeightInfo* w = source.find(part, layer);
      if (!w) continue;
      const auto bytes = static_cast<std::size_t>(puna::row_bytes(w->type, w->columns));
      row.resize(bytes);
      for (const std::uint64_t r : {std::uint64_t{0}, w->rows - 1}) {
        source.copy(part, layer, r, 1, row.data());
        sum = sum * 31 + sum_of(row.data(), bytes);
        const std::byte* whole = source.borrow(part, layer);
        if (whole && std::memcmp(whole + r * bytes, row.data(), bytes) != 0) std::abort();
      }
    }
  const puna::VocabSource vocab = source.vocab();
  return sum * 31 + vocab.arrays.pieces.size() + source.metadata().size();
}

// The answer to a file as text: a sum, or the error.
inline std::string answer(const std::shared_ptr<const puna::File>& file) {
  std::string text;
  try {
    text = std::to_string(exercise(*puna::open_weights(file)));
  } catch (const puna::Error& e) {
    text = e.text();
  }
  try {
    const puna::Listing listing = puna::inspect(file);
    text += " " + listing.format + " " + std::to_string(listing.tensors.size());
    for (const auto& m : listing.metadata) text += m.key + m.value;
  } catch (const puna::Error& e) {
    text += e.text();
  }
  return text;
}

inline void exercise_bytes(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  // A copy of exactly this size, so that one byte past the end is past an allocation.
  std::vector<std::byte> bytes(size);
  std::memcpy(bytes.data(), data, size);
  const auto read = [](void* user, std::uint64_t offset, void* dst, std::size_t n) {
    std::memcpy(dst, static_cast<std::vector<std::byte>*>(user)->data() + offset, n);
    return std::int32_t{0};
  };
  const std::string in_memory = answer(puna::File::from_memory(bytes, "f"));
  if (answer(puna::File::from_callback(&bytes, read, size, "f")) != in_memory) std::abort();
}

}  // namespace puna_fuzz
