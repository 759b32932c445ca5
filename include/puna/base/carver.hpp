// Lays arrays out one after the other, 64-byte aligned: run once with no base to learn the size, once to carve.
#pragma once

#include <cstddef>
#include <cstdint>

#include "puna/base/checked.hpp"
#include "puna/base/memory.hpp"

namespace puna {

struct Carver {
  std::byte* base;
  std::uint64_t used = 0;

  template <class T>
  T* take(std::uint64_t a, std::uint64_t b) {
    const std::uint64_t offset = used;
    used += round_up(size_product(size_product(a, b), sizeof(T)), Memory::alignment);
    return base ? reinterpret_cast<T*>(base + offset) : nullptr;
  }
};

}  // namespace puna
