// The rounding searches inside the encoders, over many groups of 16 or 32 numbers at once: where encoding spends its time.
// The plain loops (reference_encode) are the oracle; kernels/table.hpp has the same with SIMD, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace puna {

// What an element's error counts in a search.
enum class Weigh : std::int32_t {
  square,      // x^2
  absolute,    // |x|
  average,     // |x| + the root of the group's mean square
  importance,  // importance * sqrt(variance + x^2)
  given,       // importance
};

// How scale and minimum are searched: (rmin + k * rdelta + nmax) / range for k = 0 .. steps.
struct AffineSearch {
  float rmin, rdelta;
  int steps;
  bool absolute;  // |error| instead of its square
};

// Groups that lie one after the other, and what was found for each.
struct FitTile {
  std::uint32_t groups;
  std::uint32_t n;  // elements of a group: 16 or 32
  int nmax;
  const float* x;
  Weigh weigh;
  const float* importance;  // [groups][n], for Weigh::importance and given
  const float* variance;    // [groups], for Weigh::importance
  AffineSearch search;      // affine
  std::uint8_t* codes;      // [groups][n]; not touched by levels
  float* scales;            // [groups]
  float* minimums;          // [groups]: affine
  float* weight_sums;       // [groups], or null
};

// Codes for scales that are settled: clamp(nearest((x + m) / d), low, high) - low. Where d is 0 the codes stay.
struct RoundTile {
  std::uint32_t groups;
  std::uint32_t n;
  const float* x;
  const float* d;  // [groups]
  const float* m;  // [groups], or null for 0
  int low, high;
  std::uint8_t* codes;
};

struct EncodeKernels {
  void (*affine)(const FitTile& tile);     // x ~ scale * codes - minimum, codes 0 .. nmax, minimum >= 0
  void (*symmetric)(const FitTile& tile);  // x ~ scale * (codes - nmax), codes 0 .. 2 nmax - 1; 19 scales tried
  void (*descent)(const FitTile& tile);    // the same by coordinate descent, weights x^2
  void (*levels)(const FitTile& tile);     // x ~ scale * one of the 16 levels of IQ4
  void (*round)(const RoundTile& tile);
  // The nearest level of inverses[group] * x, for groups of 32.
  void (*level_codes)(const float* x, std::uint32_t groups, const float* inverses, std::uint8_t* codes);
  void (*q8_0)(const float* x, std::size_t n, std::byte* out);  // whole blocks
};

extern const EncodeKernels reference_encode;

}  // namespace puna
