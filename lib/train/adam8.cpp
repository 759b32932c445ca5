#include "adam8.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace puna {
namespace {

constexpr std::uint32_t cell_shift = 19;  // sixteen cells between two powers of two
constexpr std::uint32_t first_cell = std::bit_cast<std::uint32_t>(0x1p-24f) >> cell_shift;
constexpr std::uint32_t cells = (std::bit_cast<std::uint32_t>(1.0f) >> cell_shift) - first_cell + 1;

struct Map {
  std::array<float, 256> values{};
  std::array<float, 255> middles{};           // between neighbours
  std::array<std::uint8_t, cells> starts{};   // the code nearest to a cell's smallest value
  std::uint8_t zero = 0;
};

// Each decade is cut into twice as many parts as the one below, and a code names the middle of its part; the values are
// bitsandbytes' to the last bit.
constexpr Map make_map(bool with_sign) {
  Map map;
  std::size_t n = 0;
  const auto boundary = [](std::uint32_t i, std::uint32_t parts) {  // torch.linspace(0.1, 1, parts + 1): a fused step from the nearer end
    const double step = (1.0f - 0.1f) / static_cast<float>(parts);
    return static_cast<float>(i < (parts + 1) / 2 ? double{0.1f} + step * i : 1.0 - step * (parts - i));
  };
  constexpr float decades[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  for (std::uint32_t d = 0; d < 7; ++d) {
    const std::uint32_t parts = with_sign ? 1u << d : 2u << d;
    for (std::uint32_t i = 0; i < parts; ++i) {
      const float v = decades[d] * ((boundary(i, parts) + boundary(i + 1, parts)) / 2.0f);
      map.values[n++] = v;
      if (with_sign) map.values[n++] = -v;
    }
  }
  map.values[n++] = 0.0f, map.values[n++] = 1.0f;
  std::sort(map.values.begin(), map.values.end());
  for (std::size_t i = 0; i < 255; ++i) map.middles[i] = (map.values[i] + map.values[i + 1]) / 2.0f;
  map.zero = static_cast<std::uint8_t>(std::find(map.values.begin(), map.values.end(), 0.0f) - map.values.begin());
  std::uint8_t code = map.zero;
  for (std::uint32_t c = 0; c < cells; ++c) {
    const float low = std::bit_cast<float>((c + first_cell) << cell_shift);
    while (code < 255 && low > map.middles[code]) ++code;
    map.starts[c] = code;
  }
  return map;
}

constexpr Map maps[2] = {make_map(false), make_map(true)};

// The nearest code of a magnitude up to 1; the map is symmetric, except that 1 has no partner.
std::uint8_t nearest(const Map& map, float x) {
  const std::uint32_t cell = std::bit_cast<std::uint32_t>(x) >> cell_shift;
  std::uint8_t code = cell < first_cell ? map.zero : map.starts[std::min(cell - first_cell, cells - 1)];
  while (code < 255 && x > map.middles[code]) ++code;
  return code;
}

}  // namespace

const float* moment_map(bool with_sign) { return maps[with_sign].values.data(); }

float encode_moments(bool with_sign, const float* x, std::size_t n, std::uint8_t* codes) {
  const Map& map = maps[with_sign];
  float top = 0;
  for (std::size_t i = 0; i < n; ++i) top = std::max(top, std::fabs(x[i]));
  if (!(top > 0)) {
    std::fill(codes, codes + n, map.zero);
    return 0;
  }
  const float scale = 1.0f / top;
  for (std::size_t i = 0; i < n; ++i) {
    const float part = x[i] * scale;
    if (part >= 0) {
      codes[i] = nearest(map, std::min(part, 1.0f));
    } else {
      const int code = 2 * map.zero - nearest(map, std::min(-part, 1.0f));
      codes[i] = static_cast<std::uint8_t>(std::max(code, 0));
    }
  }
  return top;
}

void decode_moments(bool with_sign, const std::uint8_t* codes, float top, std::size_t n, float* x) {
  const float* values = moment_map(with_sign);
  for (std::size_t i = 0; i < n; ++i) x[i] = values[codes[i]] * top;
}

void adamw8(const AdamStep& a, float* w, float* g, Moments8 first, Moments8 second, std::size_t n) {
  float m[moment_block], v[moment_block];
  for (std::size_t i = 0; i < n; i += moment_block) {
    const std::size_t count = std::min(moment_block, n - i), block = i / moment_block;
    decode_moments(true, first.codes + i, first.tops[block], count, m);
    decode_moments(false, second.codes + i, second.tops[block], count, v);
    adamw(a, w + i, g + i, m, v, count);
    first.tops[block] = encode_moments(true, m, count, first.codes + i);
    second.tops[block] = encode_moments(false, v, count, second.codes + i);
  }
}

}  // namespace puna
