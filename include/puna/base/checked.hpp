// Size arithmetic that reports overflow instead of wrapping. Every size that a file or a caller chose goes through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "puna/base/status.hpp"

namespace puna {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  if (a > std::numeric_limits<std::uint64_t>::max() - b) return std::nullopt;
  return a + b;
}

inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return std::nullopt;
  return a * b;
}

// a*b as a size_t, or Error(memory): for sizes of allocations made from checked counts.
inline std::size_t size_product(std::uint64_t a, std::uint64_t b) {
  const auto product = checked_mul(a, b);
  if (!product || *product > std::numeric_limits<std::size_t>::max() / 2)
    fail(Code::memory, "a size of " + std::to_string(a) + " x " + std::to_string(b) + " does not fit this machine");
  return static_cast<std::size_t>(*product);
}

inline std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace puna
