// GGUF files that lie. Each is refused with a status and a message that names the file, the field and the value, and
// memory stays in proportion to the bytes that are there. The CVE cases are the classes of GGUF readers' advisories.
#include <cmath>
#include <limits>
#include <string>

#include "allocation_count.hpp"
#include "gguf_builder.hpp"
#include "puna/io/gguf.hpp"
#include "refusal.hpp"
#include "support.hpp"

using namespace puna;
using puna_test::Bytes;
using puna_test::GgufBuilder;
using puna_test::HeapWatch;
using puna_test::put;
using puna_test::put_bytes;
using puna_test::put_text;
using puna_test::refusal;

namespace {

// Everything that a loader does with a file.
void use(const std::shared_ptr<const File>& file) {
  const auto source = open_weights(file);
  Bytes row;
  for (std::uint32_t layer = 0; layer < source->hyperparameters().layers; ++layer)
    for (int p = 0; p < part_count; ++p) {
      const auto part = static_cast<Part>(p);
      const WeightInfo* w = source->find(part, layer);
      if (!w) continue;
      row.resize(static_cast<std::size_t>(row_bytes(w->type, w->columns)));
      source->copy(part, layer, w->rows - 1, 1, row.data());
    }
  source->metadata();
  source->vocab();
}

// Refused by opening and, where the header itself is wrong, by inspect; with little memory.
std::string refused(const Bytes& bytes, Code code, std::initializer_list<std::string_view> parts) {
  const auto file = puna_test::in_memory(bytes);
  const HeapWatch heap;
  const std::string text = refusal(code, parts, [&] { use(file); });
  CHECK(text.find("<memory>") != std::string::npos);
  CHECK(heap.peak() < 32768 + 32 * bytes.size());
  CHECK(heap.left() <= text.capacity() + 64);
  return text;
}

// The fixed header: magic, version, counts.
Bytes header(std::uint64_t tensors, std::uint64_t entries) {
  Bytes b;
  put_bytes(b, "GGUF");
  put<std::uint32_t>(b, 3);
  put<std::uint64_t>(b, tensors);
  put<std::uint64_t>(b, entries);
  return b;
}

GgufBuilder one_tensor(std::vector<std::uint64_t> dims, std::uint32_t type = 0, std::size_t bytes = 64) {
  GgufBuilder b;
  b.text("general.architecture", "llama");
  b.tensor("t").dims = std::move(dims);
  b.tensor("t").type = type;
  b.tensor("t").data.resize(bytes);
  return b;
}

}  // namespace

TEST_CASE("CVE-2024-21802: more dimensions than a tensor can have") {
  for (const std::uint32_t n : {5u, 255u, 0x7fffffffu, 0xffffffffu}) {
    GgufBuilder b = one_tensor({4, 4, 1, 1});
    b.tensor("t").n_dims = n;
    refused(b.build(), Code::format, {"\"t\"", "n_dims", std::to_string(n)});
  }
}

TEST_CASE("CVE-2024-21825: the length of an array or a string times its element size wraps") {
  for (const std::uint64_t n :
       {std::uint64_t{1} << 61, std::uint64_t{1} << 62, (std::uint64_t{1} << 61) + 1, ~std::uint64_t{0} / 8 + 1})
    for (const std::uint32_t element : {0u, 1u, 2u, 4u, 6u, 7u, 8u, 9u, 10u, 12u}) {
      Bytes b = header(0, 1);
      put_text(b, "key");
      put<std::uint32_t>(b, 9);
      put<std::uint32_t>(b, element);
      put<std::uint64_t>(b, n);
      b.resize(b.size() + 64);
      refused(b, Code::format, {"\"key\"", "array length", std::to_string(n)});
    }
}

TEST_CASE("CVE-2024-21836: the count of tensors times a struct wraps") {
  for (const std::uint64_t n : {0x1D1D1D1D1D1D1D1Dull, ~0ull, 1ull << 63, 0x0aaaaaaaaaaaaaabull, 1000ull}) {
    GgufBuilder b = one_tensor({16});
    b.tensor_count = n;
    refused(b.build(), Code::format, {"tensor_count", std::to_string(n)});
  }
}

TEST_CASE("CVE-2024-23496: a string's length plus one wraps") {
  for (const std::uint64_t n : {~0ull, ~0ull - 1, 1ull << 63, 1ull << 32}) {
    Bytes key = header(0, 1);
    put<std::uint64_t>(key, n);
    put_bytes(key, "keykeykeykeykeykey");
    refused(key, Code::format, {"key length", std::to_string(n)});
    Bytes value = header(0, 1);
    put_text(value, "key");
    put<std::uint32_t>(value, 8);
    put<std::uint64_t>(value, n);
    put_bytes(value, "value");
    refused(value, Code::format, {"\"key\"", "string", std::to_string(n)});
    Bytes name = header(1, 0);
    put<std::uint64_t>(name, n);
    put_bytes(name, std::string(100, 'x'));
    refused(name, Code::format, {"name length", std::to_string(n)});
  }
}

TEST_CASE("CVE-2024-23605: the count of entries wraps") {
  for (const std::uint64_t n : {0xffffffffull, ~0ull, 1ull << 32, 1ull << 60}) {
    GgufBuilder b = GgufBuilder::llama();
    b.entry_count = n;
    refused(b.build(), Code::format, {"metadata_kv_count", std::to_string(n)});
  }
  GgufBuilder b = GgufBuilder::llama();
  b.entry_count = ~std::uint64_t{0};
  b.tensor_count = ~std::uint64_t{0};
  refused(b.build(), Code::format, {"metadata_kv_count"});
}

TEST_CASE("CVE-2024-32878: a file cut at any byte frees only what it made") {
  const Bytes whole = GgufBuilder::llama().build();
  use(puna_test::in_memory(whole));
  for (std::size_t n = 1; n < whole.size(); ++n) {
    CAPTURE(n);
    const HeapWatch heap;
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    try {
      use(puna_test::in_memory(cut));
      FAIL_CHECK("nothing was refused");
    } catch (const Error& e) {
      CHECK((e.code() == Code::format || e.code() == Code::unsupported));
      CHECK(e.text().find("<memory>") != std::string::npos);
    }
    CHECK(heap.peak() < 65536 + 32 * whole.size());
  }
}

TEST_CASE("CVE-2024-41130: sections that are absent or empty") {
  refused(header(0, 0), Code::format, {"general.architecture", "missing"});
  GgufBuilder b = GgufBuilder::llama();
  b.tensors.clear();
  refused(b.build(), Code::format, {"llama.block_count", "0 tensors"});
  b = GgufBuilder::llama();
  b.entries.clear();
  refused(b.build(), Code::format, {"general.architecture"});
  b = GgufBuilder::llama();
  b.texts("tokenizer.ggml.tokens", {});
  refused(b.build(), Code::format, {"tokenizer.ggml.scores"});
  b = GgufBuilder::llama();
  b.texts("tokenizer.ggml.tokens", {}).array<float>("tokenizer.ggml.scores", 6, {}).remove("tokenizer.ggml.token_type");
  refused(b.build(), Code::format, {"tokenizer.ggml.tokens", "0 pieces"});
  b = GgufBuilder::llama();
  b.array<std::uint32_t>("llama.attention.head_count_kv", 4, {});
  refused(b.build(), Code::format, {"llama.attention.head_count_kv"});
}

TEST_CASE("CVE-2025-49847: a piece of more than 2 GiB is declared") {
  for (const std::uint64_t n : {0x80000000ull, 0xfffffff0ull, 0x100000005ull}) {
    GgufBuilder b = GgufBuilder::llama();
    Bytes tokens;
    put<std::uint32_t>(tokens, 9);
    put<std::uint32_t>(tokens, 8);
    put<std::uint64_t>(tokens, 6);
    for (int i = 0; i < 5; ++i) put_text(tokens, "x");
    put<std::uint64_t>(tokens, n);
    b.raw("tokenizer.ggml.tokens", tokens);
    refused(b.build(), Code::format, {"tokenizer.ggml.tokens", "string", std::to_string(n)});
  }
}

TEST_CASE("CVE-2025-52566: more tokens than 32 bits count") {
  // A file of a terabyte, of which only the header is more than zeros: a token is then eight bytes of nothing.
  for (const std::uint64_t count : {(std::uint64_t{1} << 32) + 6, std::uint64_t{1} << 31, std::uint64_t{1} << 25}) {
    Bytes start = header(0, 1);
    put_text(start, "tokenizer.ggml.tokens");
    put<std::uint32_t>(start, 9);
    put<std::uint32_t>(start, 8);
    put<std::uint64_t>(start, count);
    const auto read = [](void* user, std::uint64_t offset, void* dst, std::size_t n) {
      const auto& bytes = *static_cast<const Bytes*>(user);
      for (std::size_t i = 0; i < n; ++i)
        static_cast<std::byte*>(dst)[i] =
            offset + i < bytes.size() ? bytes[static_cast<std::size_t>(offset) + i] : std::byte{0};
      return std::int32_t{0};
    };
    const auto file = File::from_callback(&start, read, std::uint64_t{1} << 40);
    const HeapWatch heap;
    refusal(Code::format, {"tokenizer.ggml.tokens", "array length", std::to_string(count)}, [&] { use(file); });
    CHECK(heap.peak() < 200000);
  }
}

TEST_CASE("CVE-2025-53630 and CVE-2026-27940: the sum of tensor sizes wraps") {
  // Each tensor alone would fit 64 bits; together they come back to a small number.
  for (const std::uint64_t rows : {std::uint64_t{1} << 57, (std::uint64_t{1} << 57) - 1, std::uint64_t{1} << 40}) {
    GgufBuilder b;
    b.text("general.architecture", "llama");
    for (int i = 0; i < 33; ++i) {
      auto& t = b.tensor("t" + std::to_string(i));
      t.dims = {16, rows};
      t.offset = static_cast<std::uint64_t>(i) * (rows << 6);
    }
    b.tensor("t0").data.resize(64);
    refused(b.build(), Code::format, {"\"t0\"", "dimensions", std::to_string(16 * rows)});
  }
  // Sizes that fit the file one by one, but not one behind the other.
  GgufBuilder b;
  b.text("general.architecture", "llama");
  for (int i = 0; i < 8; ++i) {
    b.f32_tensor("t" + std::to_string(i), {64});
    b.tensor("t" + std::to_string(i)).offset = static_cast<std::uint64_t>(i) * 512;
  }
  refused(b.build(), Code::format, {"tensor data"});
}

TEST_CASE("CVE-2026-33298: the bytes of a row wrap to a small number") {
  const std::vector<std::vector<std::uint64_t>> shapes = {{std::uint64_t{1} << 62},
                                                          {std::uint64_t{1} << 63},
                                                          {~std::uint64_t{0}},
                                                          {~std::uint64_t{0} - 31},
                                                          {std::uint64_t{1} << 32, std::uint64_t{1} << 32},
                                                          {std::uint64_t{1} << 31, std::uint64_t{1} << 31, 4, 1},
                                                          {(std::uint64_t{1} << 32) + 1, std::uint64_t{1} << 32},
                                                          {256, std::uint64_t{1} << 55},
                                                          {256, ~std::uint64_t{0} / 255}};
  for (const auto& dims : shapes)
    for (const std::uint32_t type : {0u, 1u, 2u, 8u, 12u, 14u, 23u, 30u, 28u}) {
      CAPTURE(dims[0]);
      CAPTURE(type);
      refused(one_tensor(dims, type).build(), Code::format, {"\"t\"", "dimension"});
    }
  // A type that nobody here knows has no size to compare: the count of elements is bounded all the same.
  for (const auto& dims :
       {std::vector<std::uint64_t>{std::uint64_t{1} << 63}, {std::uint64_t{1} << 32, std::uint64_t{1} << 31}})
    refused(one_tensor(dims, 99).build(), Code::format, {"\"t\"", "dimension", "63 bits"});
}

TEST_CASE("GHSA-g4cc-763q-h9h6: a special id at or past the end of the vocabulary") {
  for (const char* key : {"bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "prefix_token_id",
                          "suffix_token_id", "middle_token_id", "eot_token_id", "fim_pre_token_id"})
    for (const std::uint32_t id : {6u, 7u, 0x7fffffffu, 0xfffffffeu}) {
      GgufBuilder b = GgufBuilder::llama();
      b.u32("tokenizer.ggml." + std::string(key), id);
      refused(b.build(), Code::format, {key, std::to_string(id), "6 pieces"});
    }
  GgufBuilder b = GgufBuilder::llama();
  b.i32("tokenizer.ggml.bos_token_id", -2);
  refused(b.build(), Code::format, {"bos_token_id", "-2"});
  b.text("tokenizer.ggml.bos_token_id", "1");
  refused(b.build(), Code::format, {"bos_token_id", "string"});
  b.u64("tokenizer.ggml.bos_token_id", 0x100000001ull);
  refused(b.build(), Code::format, {"bos_token_id", "4294967297"});
}

TEST_CASE("llama.cpp#25596, #26946: a dimension of zero, an alignment of the wrong type") {
  for (const std::vector<std::uint64_t>& dims : {std::vector<std::uint64_t>{0}, {0, 4}, {4, 0}, {4, 4, 0, 4}})
    refused(one_tensor(dims).build(), Code::format, {"\"t\"", "dimension", "0"});
  GgufBuilder b = GgufBuilder::llama();
  b.u64("general.alignment", 32);
  refused(b.build(), Code::format, {"general.alignment", "u64"});
  b.text("general.alignment", "32");
  refused(b.build(), Code::format, {"general.alignment", "string"});
  b.i32("general.alignment", -32);
  refused(b.build(), Code::format, {"general.alignment", "i32"});
  for (const std::uint32_t n : {0u, 3u, 48u, 0xffffffffu}) {
    b.u32("general.alignment", n);
    refused(b.build(), Code::format, {"general.alignment", std::to_string(n)});
  }
}

TEST_CASE("llama.cpp#26318: padding wraps near the largest size") {
  for (const std::uint64_t offset : {~0ull - 31, ~0ull - 63, 1ull << 63, (1ull << 63) - 32}) {
    GgufBuilder b = one_tensor({16});
    b.tensor("t").offset = offset;
    refused(b.build(), Code::format, {"\"t\"", "offset", std::to_string(offset)});
  }
  GgufBuilder b = one_tensor({16});
  b.u32("general.alignment", 0x80000000u);
  refused(b.build(), Code::format, {"tensor data"});
}

TEST_CASE("llama.cpp#24884, #24885: an empty key, a key or a name given twice") {
  Bytes empty = header(0, 1);
  put<std::uint64_t>(empty, 0);
  put<std::uint32_t>(empty, 0);
  put<std::uint8_t>(empty, 1);
  CHECK(empty.size() == 37);
  refused(empty, Code::format, {"metadata_kv_count", "1"});  // not even a key of one byte fits
  put<std::uint64_t>(empty, 0);
  refused(empty, Code::format, {"key length", "0"});
  GgufBuilder b = GgufBuilder::llama();
  b.entries.push_back(b.entries[3]);
  refused(b.build(), Code::format, {"llama.block_count", "twice"});
  b = GgufBuilder::llama();
  b.tensors.push_back(b.tensors[0]);
  refused(b.build(), Code::format, {"token_embd.weight", "twice"});
  b = GgufBuilder::llama();
  b.tensor("output_norm.weight").name = "";
  refused(b.build(), Code::format, {"name length", "0"});
  b = GgufBuilder::llama();
  b.tensor("output_norm.weight").name = std::string(64, 'n');
  refused(b.build(), Code::format, {"name length", "64"});
  b.tensors[1].name = std::string(63, 'n');
  refused(b.build(), Code::format, {"output_norm", "missing"});
}

TEST_CASE("ggml#1516: a file of 160 bytes asks for gibibytes") {
  Bytes b = header(0, 1);
  put_text(b, "key");
  put<std::uint32_t>(b, 9);
  put<std::uint32_t>(b, 12);
  put<std::uint64_t>(b, std::uint64_t{1} << 29);
  b.resize(160);
  const auto file = puna_test::in_memory(b);
  const HeapWatch heap;
  refusal(Code::format, {"\"key\"", "array length", "536870912"}, [&] { use(file); });
  CHECK(heap.largest() < 4096);
  b = header(5, 100);
  b.resize(160);
  refused(b, Code::format, {"metadata_kv_count", "100"});
}

TEST_CASE("CVE-2026-7482: a tensor's offset and size reach past the end of the file") {
  for (const std::int64_t more : {0, 32, 64, 1 << 20}) {
    GgufBuilder b = GgufBuilder::llama();
    auto& last = b.tensors.back();
    const std::size_t size = last.data.size();
    if (more == 0)
      last.data.resize(size - 1);
    else
      last.offset = std::uint64_t{1504} + static_cast<std::uint64_t>(more) + 4096;
    refused(b.build(), Code::format, {"blk.1.ffn_down.weight", "past"});
  }
}

TEST_CASE("tensors that share bytes are refused, and offsets that are not aligned") {
  GgufBuilder b = GgufBuilder::llama();
  b.tensor("blk.0.attn_q.weight").offset = 0;
  refused(b.build(), Code::format, {"offset 0", "lies inside"});
  b.tensor("blk.0.attn_q.weight").offset = 32;
  refused(b.build(), Code::format, {"blk.0.attn_q.weight", "offset 32", "token_embd.weight"});
  b.tensor("blk.0.attn_q.weight").offset = 33;
  refused(b.build(), Code::format, {"blk.0.attn_q.weight", "offset", "33", "alignment 32"});
}

TEST_CASE("llamafile#1038: -1 in every field of a size") {
  // Every u64 of the header, in turn, becomes 2^64-1, and every u32 2^32-1: a refusal comes, or a sound file.
  const Bytes whole = GgufBuilder::llama().build();
  const std::size_t end = GgufBuilder::llama().header().size();
  for (const std::size_t width : {std::size_t{4}, std::size_t{8}})
    for (std::size_t at = 4; at + width <= end; ++at) {
      Bytes b = whole;
      std::memset(b.data() + at, 0xff, width);
      const auto file = puna_test::in_memory(b);
      const HeapWatch heap;
      try {
        use(file);
      } catch (const Error& e) {
        CHECK((e.code() == Code::format || e.code() == Code::unsupported));
      }
      CHECK(heap.peak() < 65536 + 32 * whole.size());
    }
}

TEST_CASE("types of values and of elements that there are not, arrays nested without end") {
  for (const std::uint32_t type : {13u, 255u, 0xffffffffu}) {
    Bytes b = header(0, 1);
    put_text(b, "key");
    put<std::uint32_t>(b, type);
    b.resize(b.size() + 64);
    refused(b, Code::format, {"\"key\"", "value type", std::to_string(type)});
    b = header(0, 1);
    put_text(b, "key");
    put<std::uint32_t>(b, 9);
    put<std::uint32_t>(b, type);
    b.resize(b.size() + 64);
    refused(b, Code::format, {"\"key\"", "array element type", std::to_string(type)});
  }
  Bytes b = header(0, 1);
  put_text(b, "key");
  put<std::uint32_t>(b, 9);
  for (int i = 0; i < 100000; ++i) {
    put<std::uint32_t>(b, 9);
    put<std::uint64_t>(b, 1);
  }
  refused(b, Code::format, {"\"key\"", "nest deeper than 4"});
  GgufBuilder g = GgufBuilder::llama();
  g.scalar<std::uint8_t>("key", 7, 2);
  refused(g.build(), Code::format, {"\"key\"", "boolean", "2"});
  g.array<std::uint8_t>("key", 7, {0, 1, 77});
  refused(g.build(), Code::format, {"\"key\"", "boolean", "77"});
}

TEST_CASE("hyperparameters that no Llama has") {
  const auto said = [](std::initializer_list<std::string_view> parts, auto change) {
    GgufBuilder b = GgufBuilder::llama();
    change(b);
    refused(b.build(), Code::format, parts);
  };
  for (const char* key : {"llama.context_length", "llama.embedding_length", "llama.block_count",
                          "llama.feed_forward_length", "llama.attention.head_count"}) {
    said({key, "missing"}, [&](auto& b) { b.remove(key); });
    said({key, "0"}, [&](auto& b) { b.u32(key, 0); });
    said({key, "-1"}, [&](auto& b) { b.i32(key, -1); });
    said({key, "18446744073709551615"}, [&](auto& b) { b.u64(key, ~std::uint64_t{0}); });
    said({key, "4294967295"}, [&](auto& b) { b.u32(key, 0xffffffff); });
    said({key, "f32"}, [&](auto& b) { b.f32(key, 8); });
    said({key, "string"}, [&](auto& b) { b.text(key, "8"); });
  }
  said({"llama.attention.head_count_kv", "0"}, [](auto& b) { b.u32("llama.attention.head_count_kv", 0); });
  said({"llama.attention.head_count_kv", "3"}, [](auto& b) { b.u32("llama.attention.head_count_kv", 3); });
  said({"llama.attention.head_count", "3"}, [](auto& b) { b.u32("llama.attention.head_count", 3); });
  said({"llama.block_count", "2147483647"}, [](auto& b) { b.u32("llama.block_count", 0x7fffffff); });
  said({"llama.block_count", "3"}, [](auto& b) { b.u32("llama.block_count", 3); });
  said({"blk.1.", "llama.block_count 1"}, [](auto& b) { b.u32("llama.block_count", 1); });
  said({"llama.vocab_size", "7", "6"}, [](auto& b) { b.u32("llama.vocab_size", 7); });
  static constexpr const char* epsilon = "llama.attention.layer_norm_rms_epsilon";
  said({epsilon, "missing"}, [](auto& b) { b.remove(epsilon); });
  said({epsilon, "NaN"}, [](auto& b) { b.f32(epsilon, std::nanf("")); });
  said({epsilon, "Infinity"}, [](auto& b) { b.f64(epsilon, INFINITY); });
  said({epsilon, "-1e-05"}, [](auto& b) { b.f32(epsilon, -1e-5f); });
  said({epsilon, "0"}, [](auto& b) { b.f32(epsilon, 0); });
  said({"llama.rope.freq_base", "NaN"}, [](auto& b) { b.f32("llama.rope.freq_base", std::nanf("")); });
  said({"llama.rope.freq_base", "-10000"}, [](auto& b) { b.f32("llama.rope.freq_base", -1e4f); });
  said({"llama.attention.key_length", "1000000"}, [](auto& b) { b.u32("llama.attention.key_length", 1000000); });
}

TEST_CASE("each tensor that is missing or has a wrong shape is named") {
  const GgufBuilder whole = GgufBuilder::llama();
  for (const auto& tensor : whole.tensors) {
    CAPTURE(tensor.name);
    GgufBuilder b = whole;
    b.remove_tensor(tensor.name);
    const bool in_layer = tensor.name.starts_with("blk.");
    if (in_layer) b.f32_tensor("something.else", {8});  // so that the count of tensors alone does not tell
    const std::string part =
        in_layer ? tensor.name.substr(6, tensor.name.size() - 13) : tensor.name.substr(0, tensor.name.size() - 7);
    refused(b.build(), Code::format, {part, "missing"});

    b = whole;
    auto& turned = b.tensor(tensor.name);
    turned.dims = {turned.data.size() / 4};
    if (tensor.dims.size() == 1) turned.dims = {4, 2};
    refused(b.build(), Code::format, {tensor.name == "token_embd.weight" ? "48" : tensor.name});
  }
  GgufBuilder b = whole;
  b.f32_tensor("output.weight", {8, 5});
  refused(b.build(), Code::format, {"output.weight", "5 x 8", "6 x 8"});
}

TEST_CASE("vocabulary arrays of the wrong type or length") {
  const auto said = [](std::initializer_list<std::string_view> parts, auto change) {
    GgufBuilder b = GgufBuilder::llama();
    change(b);
    refused(b.build(), Code::format, parts);
  };
  said({"tokenizer.ggml.tokens", "missing"}, [](auto& b) { b.remove("tokenizer.ggml.tokens"); });
  said({"tokenizer.ggml.scores", "missing"}, [](auto& b) { b.remove("tokenizer.ggml.scores"); });
  said({"tokenizer.ggml.scores", "5", "6"},
       [](auto& b) { b.template array<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, 0}); });
  said({"tokenizer.ggml.token_type", "1", "6"},
       [](auto& b) { b.template array<std::int32_t>("tokenizer.ggml.token_type", 5, {1}); });
  said({"tokenizer.ggml.token_type", "7"},
       [](auto& b) { b.template array<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 7}); });
  said({"tokenizer.ggml.token_type", "-1"},
       [](auto& b) { b.template array<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, -1}); });
  said({"tokenizer.ggml.tokens", "u32"},
       [](auto& b) { b.template array<std::uint32_t>("tokenizer.ggml.tokens", 4, {1, 2}); });
  said({"tokenizer.ggml.scores", "f64"},
       [](auto& b) { b.template array<double>("tokenizer.ggml.scores", 12, {0, 0, 0, 0, 0, 0}); });
  said({"tokenizer.ggml.tokens", "7 pieces", "6 rows"}, [](auto& b) {
    b.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab", "ba"});
    b.template array<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, 0, 0, 0});
    b.template array<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 1, 1});
  });
  said({"tokenizer.ggml.add_bos_token", "u32"}, [](auto& b) { b.u32("tokenizer.ggml.add_bos_token", 1); });
}

TEST_CASE("GGUF cut at every 64th byte, every fixture") {
  for (const auto& entry : std::filesystem::directory_iterator(puna_test::fixture("gguf"))) {
    if (entry.path().extension() != ".gguf") continue;
    CAPTURE(entry.path().string());
    const auto whole = puna_test::read_file(entry.path());
    for (std::size_t n = 64; n < whole.size(); n += 64) {
      // The last padding of a file may be missing; everything else may not.
      if (whole.size() - n < 32) continue;
      const auto* begin = reinterpret_cast<const std::byte*>(whole.data());
      const auto file = File::from_memory({begin, n});
      const HeapWatch heap;
      try {
        use(file);
        FAIL_CHECK("nothing was refused at " << n);
      } catch (const Error& e) {
        if (e.code() != Code::format && e.code() != Code::unsupported) FAIL_CHECK(e.text());
      }
      if (heap.peak() > 65536 + 32 * n) FAIL_CHECK("took " << heap.peak() << " bytes for " << n);
    }
  }
}

TEST_CASE("wrong magic is not taken for a GGUF") {
  for (const std::string& start :
       {std::string("GGUX"), std::string("FUGG"), std::string("ggjt"), std::string("GGU\0", 4), std::string(4, '\0')}) {
    Bytes b = GgufBuilder::llama().build();
    std::memcpy(b.data(), start.data(), start.size());
    refused(b, Code::format, {"no model that is known", "GGUF", "llama2.c"});
  }
}
