// Encoders against ggml: hashes made by compiling ggml-quants.c (ggml-org/ggml d99724f), and packed vectors of llama.cpp
// c392e50 in the shared data.
#include <cmath>
#include <cstring>
#include <limits>

#include "puna/tensor/codec.hpp"
#include "support.hpp"

using namespace puna_test;
using puna::DType;

namespace {

std::uint64_t fnv1a(const void* data, std::size_t n) {
  std::uint64_t hash = 14695981039346656037ull;
  for (std::size_t i = 0; i < n; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211ull;
  return hash;
}

std::uint32_t next(std::uint32_t& s) { return s = 1664525u * s + 1013904223u; }

// 4 rows of 1024, with a superblock of zeros.
std::vector<float> golden_input() {
  std::uint32_t s = 1;
  std::vector<float> x(4096);
  for (float& v : x) v = static_cast<float>(static_cast<int>(next(s) >> 8) - 8388608) / 8388608.0f;
  std::fill(x.begin() + 256, x.begin() + 512, 0.0f);
  return x;
}

std::vector<float> golden_importance() {
  std::uint32_t s = 2;
  std::vector<float> w(1024);
  for (float& v : w) v = static_cast<float>(next(s) >> 8) / 16777216.0f + 0.25f;
  return w;
}

std::vector<std::byte> encode_rows(DType type, const std::vector<float>& x, std::size_t columns, const float* importance) {
  const std::size_t bytes = puna::row_bytes(type, columns);
  std::vector<std::byte> out(x.size() / columns * bytes);
  for (std::size_t r = 0; r < x.size() / columns; ++r) puna::encode_row(type, x.data() + r * columns, out.data() + r * bytes, columns, importance);
  return out;
}

struct Golden {
  DType type;
  std::uint64_t plain, importance;
};
constexpr Golden goldens[] = {
    {DType::q4_0, 0xf73ddf2f6a85e2e0, 0x64e0a60112186b27},   {DType::q4_1, 0x9665b18f8b1c167b, 0x147991af81fb3481},
    {DType::q5_0, 0xbda57a75b2dc4c4c, 0xaf86b797be7a36a1},   {DType::q5_1, 0x6483f658189fd031, 0x1b62cc88ce8d4446},
    {DType::q8_0, 0x9d863bc25386d232, 0x9d863bc25386d232},   {DType::q2_k, 0x23ebc146905e3ae1, 0x00897bb267d3adfc},
    {DType::q3_k, 0x60c3dcc9cab3c09a, 0x84d0a3c8aca68f4a},   {DType::q4_k, 0xe4cb5f7d006c3fc3, 0x32f7a15687ab0d0a},
    {DType::q5_k, 0xcff3575d72dac661, 0x92f3f53456368ece},   {DType::q6_k, 0x0a836fd0304fb05f, 0xc7c6a3fb2d742320},
    {DType::iq4_nl, 0xb36c3137fb1ea4d5, 0xb9d2a746f1003719}, {DType::iq4_xs, 0xe8dd402d295d153c, 0xd5a415cc93d7763c},
};

}  // namespace

TEST_CASE("encoders give ggml's bytes: 24 golden hashes, without and with importance") {
  const auto x = golden_input();
  const auto w = golden_importance();
  REQUIRE(fnv1a(x.data(), x.size() * 4) == 0x9adb892c6dcf1f83);
  REQUIRE(fnv1a(w.data(), w.size() * 4) == 0x539b9f175ffeade3);
  for (const Golden& g : goldens) {
    CAPTURE(std::string(puna::info(g.type).name));
    const auto plain = encode_rows(g.type, x, 1024, nullptr);
    CHECK(fnv1a(plain.data(), plain.size()) == g.plain);
    const auto weighted = encode_rows(g.type, x, 1024, w.data());
    CHECK(fnv1a(weighted.data(), weighted.size()) == g.importance);
  }
}

TEST_CASE("what was encoded decodes to ggml's values: golden hashes of the K types") {
  const auto x = golden_input();
  const std::pair<DType, std::uint64_t> decoded[] = {{DType::q2_k, 0x2a278c4a09537b89}, {DType::q3_k, 0x17a82ac84d3f7d9a},
                                                     {DType::q4_k, 0x49302f9c40ec01ef}, {DType::q5_k, 0x4e979694792ec5da},
                                                     {DType::q6_k, 0xac7aa7fae80adb9d}};
  for (const auto& [type, hash] : decoded) {
    CAPTURE(std::string(puna::info(type).name));
    const auto packed = encode_rows(type, x, 1024, nullptr);
    std::vector<float> y(x.size());
    puna::decode_row(type, packed.data(), y.data(), y.size());
    CHECK(fnv1a(y.data(), y.size() * 4) == hash);
  }
}

TEST_CASE("real weights encode to the bytes that ggml packed") {
  PUNA_SHARED(dir, "quant_vectors");
  const auto bytes = read_file(dir / "input_32x1024.f32");
  std::vector<float> x(bytes.size() / 4);
  std::memcpy(x.data(), bytes.data(), bytes.size());
  for (const char* name : {"f16", "bf16", "q4_0", "q8_0", "q4_K", "q6_K"}) {
    CAPTURE(name);
    const auto packed = encode_rows(*puna::dtype_from_name(name), x, 1024, nullptr);
    const auto expected = read_file(dir / (std::string(name) + ".bin"));
    REQUIRE(packed.size() == expected.size());
    CHECK(std::memcmp(packed.data(), expected.data(), packed.size()) == 0);
  }
}
