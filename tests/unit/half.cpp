// Conversions of halves and bfloat16 against numpy's and torch's: tests/fixtures/scripts/half_hashes.py printed the hashes
// (numpy 2.4.6, torch 2.15.0).
#include "puna/base/half.hpp"

#include <bit>
#include <cstring>
#include <vector>

#include "support.hpp"

using namespace puna;

namespace {

template <class T>
std::uint64_t fnv(const std::vector<T>& values) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (std::size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

// Floats around every border of both formats, NaNs left out.
std::vector<float> patterns() {
  std::vector<float> out;
  for (std::uint32_t high = 0; high < 65536; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x1fffu, 0x2fffu, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const std::uint32_t bits = high << 16 | low;
      if ((bits & 0x7fffffffu) <= 0x7f800000u) out.push_back(std::bit_cast<float>(bits));
    }
  return out;
}

}  // namespace

TEST_CASE("every half and every bfloat16 becomes the float that numpy and torch say") {
  std::vector<float> halves, brains;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    if ((i & 0x7fffu) <= 0x7c00u) halves.push_back(to_float(Half{static_cast<std::uint16_t>(i)}));
    brains.push_back(to_float(BFloat16{static_cast<std::uint16_t>(i)}));
  }
  CHECK(fnv(halves) == 0xa7a575fd4882f925u);
  CHECK(fnv(brains) == 0x43a13836c4ca3b25u);
}

TEST_CASE("floats round to halves and to bfloat16 as numpy and torch round them") {
  const auto all = patterns();
  CHECK(all.size() == 783362);
  std::vector<std::uint16_t> halves, brains;
  for (const float x : all) {
    halves.push_back(to_half(x).bits);
    brains.push_back(to_bfloat16(x).bits);
  }
  CHECK(fnv(halves) == 0x3fa38793a2de3665u);
  CHECK(fnv(brains) == 0xbebc89b0b69f9cd5u);
}

TEST_CASE("NaNs stay NaNs, and every half survives the way there and back") {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const Half half{static_cast<std::uint16_t>(i)};
    const Half back = to_half(to_float(half));
    if ((i & 0x7fffu) <= 0x7c00u) CHECK(back.bits == i);
    else CHECK(back.bits == (i | 0x200u));  // made quiet
  }
  for (const std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fc00000u, 0x7fffffffu, 0xffffffffu}) {
    const float nan = std::bit_cast<float>(bits);
    CHECK((to_half(nan).bits & 0x7fffu) > 0x7c00u);
    CHECK((to_bfloat16(nan).bits & 0x7fffu) > 0x7f80u);
    CHECK(to_bfloat16(nan).bits == ((bits >> 16) | 64u));  // ggml's
  }
}
