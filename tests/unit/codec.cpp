// The dtype table, and rows of every stored type decoded bit for bit as others decode them.
#include "puna/tensor/codec.hpp"

#include <cstring>
#include <set>
#include <string>

#include "puna/base/status.hpp"
#include "puna/tensor/dtype.hpp"
#include "support.hpp"

using namespace puna;
using namespace puna_test;

namespace {

const char* const stored_types[] = {"f32",  "f16",  "bf16", "q4_0", "q4_1", "q5_0",   "q5_1",  "q8_0",
                                    "q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_nl", "iq4_xs"};

// NAME.bin against NAME.dequant.f32; the row starts at an odd address.
void check_vectors(DType type, const fs::path& packed_path, const fs::path& expected_path) {
  const auto packed = read_file(packed_path), expected = read_file(expected_path);
  const std::size_t n = expected.size() / sizeof(float);
  REQUIRE(n > 0);
  REQUIRE(row_bytes(type, n) == packed.size());
  std::vector<std::byte> moved(packed.size() + 1);
  std::memcpy(moved.data() + 1, packed.data(), packed.size());
  std::vector<float> decoded(n);
  decode_row(type, moved.data() + 1, decoded.data(), n);
  CHECK(std::memcmp(decoded.data(), expected.data(), expected.size()) == 0);
}

}  // namespace

TEST_CASE("the dtype table knows each type by number and by name") {
  std::set<std::string_view> names;
  for (const char* name : stored_types) {
    const auto type = dtype_from_name(name);
    REQUIRE(type);
    CHECK(info(*type).name == name);
    CHECK(find_dtype(static_cast<std::int32_t>(*type)) == &info(*type));
    names.insert(info(*type).name);
  }
  CHECK(names.size() == std::size(stored_types));
  CHECK(dtype_from_name("Q4_k") == DType::q4_k);
  CHECK(!dtype_from_name("q4_"));
  CHECK(!dtype_from_name("q4_K "));
  CHECK(!dtype_from_name(""));
  for (const std::int32_t number : {-1, 4, 5, 9, 15, 16, 24, 31, 999, 1001}) CHECK(find_dtype(number) == nullptr);
  CHECK_THROWS_AS(info(static_cast<DType>(4)), Error);
  CHECK(row_bytes(DType::q6_k, 512) == 420);
  CHECK(row_bytes(DType::bf16, 7) == 14);
}

// tests/fixtures/scripts writes these with PyPI's gguf (its version is in fixtures/README.md).
TEST_CASE("every stored type decodes as PyPI's gguf decodes it, bit for bit") {
  for (const std::string name : stored_types) {
    CAPTURE(name);
    check_vectors(*dtype_from_name(name), fixture("gguf/dequant/" + name + ".bin"), fixture("gguf/dequant/" + name + ".dequant.f32"));
  }
}

TEST_CASE("rows packed by ggml (llama.cpp c392e50) decode to ggml's values, bit for bit") {
  for (const std::string name : {"f16", "bf16", "q4_0", "q4_K", "q6_K", "q8_0"}) {
    CAPTURE(name);
    PUNA_SHARED(packed, "quant_vectors/" + name + ".bin");
    PUNA_SHARED(expected, "quant_vectors/" + name + ".dequant.f32");
    check_vectors(*dtype_from_name(name), packed, expected);
  }
}

TEST_CASE("llama2.c's int8 with f32 scales decodes to the product") {
  std::byte row[72];
  const float scales[2] = {0.3f, -1e-3f};
  for (int b = 0; b < 2; ++b) {
    std::memcpy(row + 36 * b, &scales[b], 4);
    for (int i = 0; i < 32; ++i) row[36 * b + 4 + i] = static_cast<std::byte>(b == 0 ? i - 16 : 127 - i);
  }
  float out[64];
  decode_row(DType::q8_f32, row, out, 64);
  for (int i = 0; i < 32; ++i) {
    CHECK(out[i] == 0.3f * static_cast<float>(i - 16));
    CHECK(out[32 + i] == -1e-3f * static_cast<float>(127 - i));
  }
}
