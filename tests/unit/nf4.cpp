// NF4 with double quantisation against bitsandbytes 0.50.2: scripts/nf4.py made fixtures/nf4.bin of the same input.
#include "puna/tensor/nf4.hpp"

#include <cmath>
#include <cstring>

#include "support.hpp"

using namespace puna_test;

namespace {

constexpr std::size_t elements = 64 * 600 + 37;  // the last block is short and odd, the third group too

constexpr float levels[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

// A value on the border between two codes, or beside it by a rounding.
float border(std::size_t i) {
  const float most = 1.0f + static_cast<float>(i / 64 - 11) / 32.0f;
  return i % 64 == 0 ? most : (levels[i % 15] + levels[i % 15 + 1]) / 2.0f * most;
}

std::vector<float> made() {
  std::vector<float> x(elements);
  std::uint32_t s = 7;
  for (std::size_t i = 0; i < elements; ++i) {
    s = 1664525u * s + 1013904223u;
    const auto v = static_cast<float>(static_cast<int>(s >> 8) - 8388608) / 8388608.0f;
    const auto block = static_cast<int>(i / 64);
    if (block == 3) x[i] = 0.0f;
    else if (block == 5) x[i] = 0.25f;
    else if (block == 9) x[i] = std::ldexp(v, -130);
    else if (block >= 11 && block <= 40) x[i] = border(i);
    else x[i] = static_cast<float>(std::ldexp(static_cast<double>(v), -(block % 5)) * (block % 97 == 0 ? 3.0 : 1.0));
  }
  return x;
}

struct Judge {
  std::vector<std::uint8_t> codes, absmax;
  std::vector<float> scales;
  float offset = 0;
  std::uint64_t decoded = 0;
};

Judge judge() {
  const auto bytes = read_file(fixture("nf4.bin"));
  Judge j;
  j.codes.resize(puna::nf4_code_bytes(elements));
  j.absmax.resize(puna::nf4_blocks(elements));
  j.scales.resize(puna::nf4_groups(elements));
  const unsigned char* at = bytes.data();
  const auto take = [&](void* to, std::size_t n) { std::memcpy(to, at, n), at += n; };
  REQUIRE(bytes.size() == j.codes.size() + j.absmax.size() + 4 * j.scales.size() + 12);
  take(j.codes.data(), j.codes.size());
  take(j.absmax.data(), j.absmax.size());
  take(j.scales.data(), 4 * j.scales.size());
  take(&j.offset, 4);
  take(&j.decoded, 8);
  return j;
}

std::uint64_t fnv1a(const void* data, std::size_t n) {
  std::uint64_t hash = 14695981039346656037ull;
  for (std::size_t i = 0; i < n; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211ull;
  return hash;
}

}  // namespace

TEST_CASE("NF4 codes, absmax bytes and scales are bitsandbytes', bit for bit") {
  const auto x = made();
  const Judge expected = judge();
  std::vector<std::uint8_t> codes(puna::nf4_code_bytes(elements)), absmax_codes(puna::nf4_blocks(elements));
  std::vector<float> absmax(puna::nf4_blocks(elements)), scales(puna::nf4_groups(elements));
  // In two calls, as tiles make it.
  const std::size_t cut = 64 * 100;
  puna::nf4_encode(x.data() + cut, elements - cut, codes.data() + cut / 2, absmax.data() + cut / 64);
  puna::nf4_encode(x.data(), cut, codes.data(), absmax.data());
  CHECK(codes == expected.codes);
  // The order in which torch adds up the mean differs between processors.
  CHECK(std::fabs(puna::nf4_offset(absmax.data(), absmax.size()) - expected.offset) <= 2e-7f * expected.offset);
  puna::nf4_compress(absmax.data(), absmax.size(), expected.offset, absmax_codes.data(), scales.data());
  CHECK(absmax_codes == expected.absmax);
  CHECK(scales == expected.scales);
}

TEST_CASE("NF4 decodes to bitsandbytes' floats, whole and by any part") {
  const Judge j = judge();
  const puna::Nf4View view{j.codes.data(), j.absmax.data(), j.scales.data(), j.offset};
  std::vector<float> whole(elements);
  puna::nf4_decode(view, 0, elements, whole.data());
  CHECK(fnv1a(whole.data(), 4 * elements) == j.decoded);
  for (const std::size_t first : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64 * 255 + 5},
      elements - 1})
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{130}, std::size_t{4096}}) {
      if (first + count > elements) continue;
      std::vector<float> part(count);
      puna::nf4_decode(view, first, count, part.data());
      CHECK((count == 0 || std::memcmp(part.data(), whole.data() + first, 4 * count) == 0));
    }
}

TEST_CASE("NF4 of zeros is zeros, and absmax that are all alike come back") {
  std::vector<float> x(64 * 3, 0.0f), absmax(3), back(64 * 3, 1.0f);
  std::vector<std::uint8_t> codes(32 * 3), absmax_codes(3);
  for (const float value : {0.0f, -1.5f}) {
    std::fill(x.begin(), x.end(), value);
    float scale = 1;
    puna::nf4_encode(x.data(), x.size(), codes.data(), absmax.data());
    const float offset = puna::nf4_offset(absmax.data(), 3);
    puna::nf4_compress(absmax.data(), 3, offset, absmax_codes.data(), &scale);
    puna::nf4_decode({codes.data(), absmax_codes.data(), &scale, offset}, 0, x.size(), back.data());
    CHECK(back == x);
  }
}
