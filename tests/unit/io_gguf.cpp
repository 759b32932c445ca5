// GGUF files that are right: what is read from them is what they say.
#include "puna/io/gguf.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

#include "gguf_builder.hpp"
#include "puna/base/sha256.hpp"
#include "refusal.hpp"
#include "support.hpp"

using namespace puna;
using puna_test::Bytes;
using puna_test::GgufBuilder;
using puna_test::refusal;

namespace {

std::unique_ptr<WeightSource> open(const Bytes& bytes) { return open_weights(puna_test::in_memory(bytes)); }

std::string sha256(const std::byte* data, std::size_t n) {
  Sha256 hash;
  hash.update(data, n);
  return to_hex(hash.finish());
}

std::optional<std::pair<Part, std::uint32_t>> find_by_name(const WeightSource& source, const std::string& name) {
  for (std::uint32_t layer = 0; layer < source.hyperparameters().layers; ++layer)
    for (int p = 0; p < part_count; ++p) {
      const WeightInfo* w = source.find(static_cast<Part>(p), layer);
      if (w && w->name == name) return std::pair{static_cast<Part>(p), layer};
    }
  return std::nullopt;
}

std::string value_of(const WeightSource& source, std::string_view key) {
  for (const MetadataEntry& e : source.metadata())
    if (e.key == key) return e.value;
  return "(absent)";
}

}  // namespace

TEST_CASE("every tensor of every GGUF fixture is what PyPI gguf's reader finds") {
  // gguf_hashes.tsv: scripts/gguf_hashes.py, gguf 0.19.0.
  std::istringstream table(puna_test::read_text(puna_test::fixture("gguf_hashes.tsv")));
  std::string line, file, name, type, hash;
  std::uint64_t rows = 0, columns = 0;
  std::getline(table, line);
  std::map<std::string, std::unique_ptr<WeightSource>> sources;
  std::size_t seen = 0;
  while (table >> file >> name >> type >> rows >> columns >> hash) {
    CAPTURE(file);
    CAPTURE(name);
    auto& source = sources[file];
    if (!source) source = open_weights(puna_test::fixture("gguf/" + file).string());
    const auto place = find_by_name(*source, name);
    REQUIRE(place.has_value());
    const auto [part, layer] = *place;
    const WeightInfo& w = *source->find(part, layer);
    CHECK(find_ggml_type(static_cast<std::uint32_t>(w.type))->name == type);
    CHECK(w.rows == rows);
    CHECK(w.columns == columns);
    const auto row = static_cast<std::size_t>(row_bytes(w.type, w.columns));
    REQUIRE(source->borrow(part, layer) != nullptr);
    CHECK(sha256(source->borrow(part, layer), row * static_cast<std::size_t>(w.rows)) == hash);
    Bytes copied(row * static_cast<std::size_t>(w.rows));
    source->copy(part, layer, 0, 1, copied.data());
    source->copy(part, layer, 1, w.rows - 1, copied.data() + row);
    CHECK(sha256(copied.data(), copied.size()) == hash);
    ++seen;
  }
  CHECK(seen == 197);
  CHECK(sources.size() == 17);
  for (const auto& [path, source] : sources) {
    CHECK(source->format() == (path == "v2.gguf" ? "GGUF v2" : "GGUF v3"));
    const auto layers = static_cast<std::uint32_t>(source->hyperparameters().layers);
    CHECK(source->find(Part::wq, layers) == nullptr);
    CHECK(source->borrow(Part::wq, layers) == nullptr);
    CHECK(source->find(Part::token_embedding, 1) == nullptr);
    CHECK(source->files().size() == 1);
  }
}

TEST_CASE("GGUF values and vocabulary are what gguf.GGUFWriter was given") {
  // tests/fixtures/scripts/make_gguf.py, PyPI gguf.
  const auto source = open_weights(puna_test::fixture("gguf/mixed.gguf").string());
  const Hyperparameters& h = source->hyperparameters();
  CHECK(h.dim == 256);
  CHECK(h.layers == 1);
  CHECK(h.ffn_dim == 32);
  CHECK(h.heads == 8);
  CHECK(h.kv_heads == 1);
  CHECK(static_cast<float>(h.norm_epsilon) == 1e-5f);
  CHECK(h.rope_theta == 10000.0);
  CHECK(value_of(*source, "general.alignment") == "64");
  CHECK(value_of(*source, "general.name") == "Puna fixture mixed");
  CHECK(value_of(*source, "tokenizer.ggml.add_bos_token") == "true");
  CHECK(value_of(*source, "llama.attention.layer_norm_rms_epsilon") == "1e-05");
  CHECK(source->find(Part::output, 0)->type == DType::q6_k);
  CHECK(source->find(Part::wo, 0)->type == DType::iq4_xs);
  CHECK(source->find(Part::down, 0)->rows == 256);
  CHECK(source->find(Part::down, 0)->columns == 32);
  CHECK(source->find(Part::wk, 0)->rows == 32);

  const VocabSource vocab = source->vocab();
  REQUIRE(vocab.kind == VocabSource::Kind::arrays);
  const VocabData& v = vocab.arrays;
  REQUIRE(v.pieces.size() == 64);
  CHECK(v.pieces[0] == "<unk>");
  CHECK(v.pieces[3] == "\xE2\x96\x81t");
  CHECK(v.scores[8] == -5.0f);
  CHECK(v.types[0] == 2);
  CHECK(v.types[1] == 3);
  CHECK(v.types[16] == 1);
  CHECK(v.bos == 1);
  CHECK(v.eos == 2);
  CHECK(v.unknown == 0);
  CHECK(v.add_bos);
  CHECK_FALSE(v.add_eos);
  CHECK(v.chat_template.find("[INST]") != std::string::npos);
}

TEST_CASE("GGUF v2 is read, v1 and big-endian are refused by name") {
  const auto v2 = open_weights(puna_test::fixture("gguf/v2.gguf").string());
  CHECK(v2->format() == "GGUF v2");
  CHECK(v2->vocab().arrays.pieces.size() == 64);
  refusal(Code::unsupported, {"v1.gguf", "version 1", "GGUF v1"},
          [] { open_weights(puna_test::fixture("gguf/v1.gguf").string()); });
  refusal(Code::unsupported, {"big_endian.gguf", "50331648", "big-endian"},
          [] { open_weights(puna_test::fixture("gguf/big_endian.gguf").string()); });
  GgufBuilder b = GgufBuilder::llama();
  b.version = 4;
  refusal(Code::unsupported, {"<memory>", "version 4"}, [&] { open(b.build()); });
  b.version = 0;
  refusal(Code::unsupported, {"version 0"}, [&] { open(b.build()); });
}

TEST_CASE("GGUF through a callback gives the bytes that the mapped file holds") {
  auto bytes = puna_test::read_file(puna_test::fixture("gguf/q4_K.gguf"));
  const auto read = [](void* user, std::uint64_t offset, void* dst, std::size_t n) {
    std::memcpy(dst, static_cast<std::vector<std::uint8_t>*>(user)->data() + offset, n);
    return std::int32_t{0};
  };
  const auto called = open_weights(File::from_callback(&bytes, read, bytes.size()));
  const auto mapped = open_weights(puna_test::fixture("gguf/q4_K.gguf").string());
  CHECK(called->borrow(Part::wq, 0) == nullptr);
  const WeightInfo& w = *called->find(Part::wq, 0);
  Bytes copied(static_cast<std::size_t>(w.rows * row_bytes(w.type, w.columns)));
  called->copy(Part::wq, 0, 0, w.rows, copied.data());
  CHECK(std::memcmp(copied.data(), mapped->borrow(Part::wq, 0), copied.size()) == 0);
  CHECK(called->vocab().arrays.pieces == mapped->vocab().arrays.pieces);
  CHECK(called->vocab().arrays.scores == mapped->vocab().arrays.scores);
  REQUIRE(called->metadata().size() == mapped->metadata().size());
  for (std::size_t i = 0; i < called->metadata().size(); ++i)
    CHECK(called->metadata()[i].value == mapped->metadata()[i].value);
}

TEST_CASE("stories260K: padding id 4294967295 is no id, and the context is what the file claims") {
  PUNA_SHARED(path, "models/stories260K/stories260K.gguf");
  const auto source = open_weights(path.string());
  CHECK(source->hyperparameters().context == 2048);
  CHECK(source->hyperparameters().ffn_dim == 172);
  const VocabData v = source->vocab().arrays;
  CHECK(v.pad == -1);
  CHECK(v.pieces.size() == 512);
  CHECK(v.types[3] == 6);
}

TEST_CASE("GGUF metadata of every value type comes out as text") {
  GgufBuilder b = GgufBuilder::llama();
  b.scalar<std::uint8_t>("t.u8", 0, 200).scalar<std::int8_t>("t.i8", 1, -100).scalar<std::uint16_t>("t.u16", 2, 60000);
  b.scalar<std::int16_t>("t.i16", 3, -30000).u32("t.u32", 4000000000u).i32("t.i32", -2000000000).f32("t.f32", 0.1f);
  b.boolean("t.bool", true).text("t.string", "a\xff" "b").u64("t.u64", ~std::uint64_t{0});
  b.scalar<std::int64_t>("t.i64", 11, std::numeric_limits<std::int64_t>::min()).f64("t.f64", 0.1);
  b.f32("t.nan", std::nanf("")).f32("t.inf", -INFINITY);
  b.array<std::int16_t>("t.array", 3, {-1, 2}).texts("t.texts", {"a\"b", "\n"}).array<float>("t.none", 6, {});
  b.array<std::uint32_t>("t.long", 4, std::vector<std::uint32_t>(100000, 7));
  Bytes nested;
  for (const std::uint32_t x : {9u, 9u}) puna_test::put(nested, x);
  puna_test::put<std::uint64_t>(nested, 2);
  for (int i = 0; i < 2; ++i) {
    puna_test::put<std::uint32_t>(nested, 0);
    puna_test::put<std::uint64_t>(nested, 2);
    puna_test::put<std::uint16_t>(nested, 0x0201);
  }
  b.raw("t.nested", nested);
  const auto source = open(b.build());
  const auto is = [&](const char* key, const char* text) {
    CAPTURE(key);
    CHECK(value_of(*source, key) == text);
  };
  is("t.u8", "200");
  is("t.i8", "-100");
  is("t.u16", "60000");
  is("t.i16", "-30000");
  is("t.u32", "4000000000");
  is("t.i32", "-2000000000");
  is("t.f32", "0.1");
  is("t.bool", "true");
  is("t.string", "a\uFFFDb");
  is("t.u64", "18446744073709551615");
  is("t.i64", "-9223372036854775808");
  is("t.f64", "0.1");
  is("t.nan", "NaN");
  is("t.inf", "-Infinity");
  is("t.array", "[-1, 2]");
  is("t.texts", "[\"a\\\"b\", \"\\u000a\"]");
  is("t.none", "[]");
  is("t.nested", "[[1, 2], [1, 2]]");
  const std::string cut = value_of(*source, "t.long");
  CHECK(cut.size() < 1000);
  CHECK(cut.ends_with("... 100000 in all]"));
}

TEST_CASE("GGUF hyperparameters may be integers of any width") {
  GgufBuilder b = GgufBuilder::llama();
  b.u64("llama.context_length", 16).scalar<std::uint16_t>("llama.embedding_length", 2, 8);
  b.scalar<std::int8_t>("llama.block_count", 1, 2).scalar<std::int64_t>("llama.feed_forward_length", 11, 12);
  b.array<std::int32_t>("llama.attention.head_count_kv", 5, {1, 1}).i32("llama.rope.dimension_count", 4);
  b.f64("llama.attention.layer_norm_rms_epsilon", 1e-6).u32("llama.rope.freq_base", 1000000);
  const auto source = open(b.build());
  const Hyperparameters& h = source->hyperparameters();
  CHECK(h.context == 16);
  CHECK(h.dim == 8);
  CHECK(h.layers == 2);
  CHECK(h.ffn_dim == 12);
  CHECK(h.kv_heads == 1);
  CHECK(h.norm_epsilon == 1e-6);
  CHECK(h.rope_theta == 1e6);
  CHECK(h.vocab == 6);
  b.remove("llama.attention.head_count_kv");
  b.tensor("blk.0.attn_k.weight").dims = {8, 4};
  refusal(Code::format, {"blk.0.attn_k.weight", "4 x 8", "8 x 8"},
          [&] { open(b.build()); });  // kv heads default to heads
  b.array<std::int32_t>("llama.attention.head_count_kv", 5, {1, 2});
  refusal(Code::unsupported, {"llama.attention.head_count_kv", "[1, 2]"}, [&] { open(b.build()); });
}

TEST_CASE("GGUF rope scaling: linear, YaRN, the old key, and what is not known") {
  using Scaling = Hyperparameters::RopeScaling;
  const auto scaled = [](auto change) {
    GgufBuilder b = GgufBuilder::llama();
    change(b);
    return open(b.build())->hyperparameters();
  };
  const auto plain = scaled([](GgufBuilder&) {});
  CHECK(plain.rope_scaling == Scaling::none);
  CHECK(plain.rope_factor == 1.0);
  const auto none =
      scaled([](GgufBuilder& b) { b.text("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 4); });
  CHECK(none.rope_scaling == Scaling::none);
  const auto linear =
      scaled([](GgufBuilder& b) { b.text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4); });
  CHECK(linear.rope_scaling == Scaling::linear);
  CHECK(linear.rope_factor == 4.0);
  const auto old = scaled([](GgufBuilder& b) { b.f32("llama.rope.scale_linear", 2.5f); });
  CHECK(old.rope_scaling == Scaling::linear);
  CHECK(old.rope_factor == 2.5);
  const auto yarn = scaled([](GgufBuilder& b) {
    b.text("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 16);
    b.u32("llama.rope.scaling.original_context_length", 4).f32("llama.rope.scaling.yarn_beta_fast", 16);
  });
  CHECK(yarn.rope_scaling == Scaling::yarn);
  CHECK(yarn.rope_factor == 16.0);
  CHECK(yarn.rope_original_context == 4);
  CHECK(yarn.yarn_beta_fast == 16.0);
  CHECK(yarn.yarn_attention_factor == 0.0);
  const auto mild = scaled([](GgufBuilder& b) {
    b.text("llama.rope.scaling.type", "yarn")
        .f32("llama.rope.scaling.factor", 16)
        .f32("llama.rope.scaling.attn_factor", 0.5f);
  });
  CHECK(mild.yarn_attention_factor == doctest::Approx(0.5 * (1 + 0.1 * std::log(16.0))));
  refusal(Code::unsupported, {"llama.rope.scaling.type", "longrope"},
          [&] { scaled([](GgufBuilder& b) { b.text("llama.rope.scaling.type", "longrope"); }); });
  refusal(Code::format, {"llama.rope.scaling.factor", "NaN"}, [&] {
    scaled([](GgufBuilder& b) {
      b.text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", std::nanf(""));
    });
  });
  refusal(Code::format, {"llama.rope.scaling.factor", "0"}, [&] {
    scaled([](GgufBuilder& b) { b.text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 0); });
  });
}

TEST_CASE("GGUF: Code Llama's infill ids under their old and new names, and flags") {
  GgufBuilder b = GgufBuilder::llama();
  b.u32("tokenizer.ggml.prefix_token_id", 3).u32("tokenizer.ggml.suffix_token_id", 4);
  b.u32("tokenizer.ggml.middle_token_id", 5).u32("tokenizer.ggml.eot_token_id", 2);
  VocabData v = open(b.build())->vocab().arrays;
  CHECK(v.prefix == 3);
  CHECK(v.suffix == 4);
  CHECK(v.middle == 5);
  CHECK(v.eot == 2);
  b.u32("tokenizer.ggml.fim_pre_token_id", 5).u64("tokenizer.ggml.fim_suf_token_id", 3);
  b.i32("tokenizer.ggml.fim_mid_token_id", 4).i32("tokenizer.ggml.bos_token_id", -1);
  b.u32("tokenizer.ggml.padding_token_id", 0xffffffff).boolean("tokenizer.ggml.add_bos_token", false);
  b.boolean("tokenizer.ggml.add_eos_token", true).boolean("tokenizer.ggml.add_space_prefix", false);
  b.boolean("tokenizer.ggml.remove_extra_whitespaces", true).text("tokenizer.chat_template", "{{ x }}");
  v = open(b.build())->vocab().arrays;
  CHECK(v.prefix == 5);
  CHECK(v.suffix == 3);
  CHECK(v.middle == 4);
  CHECK(v.bos == -1);
  CHECK(v.eos == 2);
  CHECK(v.pad == -1);
  CHECK_FALSE(v.add_bos);
  CHECK(v.add_eos);
  CHECK_FALSE(v.add_space_prefix);
  CHECK(v.remove_extra_whitespaces);
  CHECK(v.chat_template == "{{ x }}");
}

TEST_CASE("GGUF: another tokenizer is refused only when the vocabulary is asked for") {
  GgufBuilder b = GgufBuilder::llama();
  b.text("tokenizer.ggml.model", "gpt2");
  const auto source = open(b.build());
  CHECK(source->find(Part::wq, 0) != nullptr);
  refusal(Code::unsupported, {"tokenizer.ggml.model", "gpt2"}, [&] { source->vocab(); });
  b.remove("tokenizer.ggml.model");
  CHECK(open(b.build())->vocab().kind == VocabSource::Kind::none);
}

TEST_CASE("GGUF: what is no Llama 2 is refused by name, not run wrongly") {
  const auto said = [](Code code, std::initializer_list<std::string_view> parts, auto change) {
    GgufBuilder b = GgufBuilder::llama();
    change(b);
    const Bytes bytes = b.build();
    refusal(code, parts, [&] { open(bytes); });
    CHECK_FALSE(inspect(puna_test::in_memory(bytes)).hyperparameters.has_value());
  };
  said(Code::unsupported, {"general.architecture", "qwen2"}, [](auto& b) { b.text("general.architecture", "qwen2"); });
  said(Code::format, {"general.architecture", "missing"}, [](auto& b) { b.remove("general.architecture"); });
  said(Code::unsupported, {"general.type", "adapter"}, [](auto& b) { b.text("general.type", "adapter"); });
  said(Code::unsupported, {"split.count", "3"}, [](auto& b) { b.scalar("split.count", 2, std::uint16_t{3}); });
  said(Code::unsupported, {"llama.expert_count", "8"}, [](auto& b) { b.u32("llama.expert_count", 8); });
  said(Code::unsupported, {"blk.1.attn_q.bias"}, [](auto& b) { b.f32_tensor("blk.1.attn_q.bias", {8}); });
  said(Code::unsupported, {"output.bias"}, [](auto& b) { b.f32_tensor("output.bias", {6}); });
  said(Code::unsupported, {"llama.rope.dimension_count", "2"}, [](auto& b) { b.u32("llama.rope.dimension_count", 2); });
  said(Code::unsupported, {"llama.attention.value_length", "8"},
       [](auto& b) { b.u32("llama.attention.value_length", 8); });
  said(Code::unsupported, {"rope_freqs.weight"}, [](auto& b) { b.f32_tensor("rope_freqs.weight", {2}); });
  said(Code::unsupported, {"blk.0.attn_q.weight", "24", "I8"}, [](auto& b) {
    b.tensor("blk.0.attn_q.weight").type = 24;
    b.tensor("blk.0.attn_q.weight").data.resize(64);
  });
  said(Code::unsupported, {"output_norm.weight", "77"}, [](auto& b) { b.tensor("output_norm.weight").type = 77; });
}

TEST_CASE("GGUF: tensors that change nothing are left alone") {
  GgufBuilder b = GgufBuilder::llama();
  b.f32_tensor("blk.0.attn_rot_embd.weight", {2}).f32_tensor("something.else", {3, 2});
  puna_test::Bytes ones;
  for (int i = 0; i < 2; ++i) puna_test::put(ones, 1.0f);
  b.f32_tensor("rope_freqs.weight", {2}).tensor("rope_freqs.weight").data = ones;
  const auto source = open(b.build());
  CHECK(source->find(Part::output, 0) == nullptr);  // tied
  CHECK(source->find(Part::down, 1)->columns == 12);
  b.f32_tensor("output.weight", {8, 6});
  CHECK(open(b.build())->find(Part::output, 0)->name == "output.weight");
}

TEST_CASE("inspect lists any GGUF, types by number where they have no name") {
  GgufBuilder b;
  b.text("general.architecture", "clip").u32("general.file_type", 1);
  b.f32_tensor("a", {3, 2}).f32_tensor("scalar", {});
  b.tensor("future").dims = {64};
  b.tensor("future").type = 99;
  b.tensor("future").data.resize(10);
  b.tensor("ternary").dims = {256, 2};
  b.tensor("ternary").type = 34;
  b.tensor("ternary").data.resize(108);
  const Listing listing = inspect(puna_test::in_memory(b.build()));
  CHECK(listing.format == "GGUF v3");
  CHECK_FALSE(listing.hyperparameters.has_value());
  REQUIRE(listing.tensors.size() == 4);
  CHECK(listing.tensors[0].type == "F32");
  CHECK(listing.tensors[0].shape == std::vector<std::uint64_t>{2, 3});
  CHECK(listing.tensors[0].bytes == 24);
  CHECK(listing.tensors[1].shape.empty());
  CHECK(listing.tensors[2].type == "type 99");
  CHECK(listing.tensors[3].type == "TQ1_0");
  CHECK(listing.tensors[3].bytes == 108);
  CHECK(listing.metadata[0].value == "clip");
  CHECK(inspect(puna_test::in_memory(GgufBuilder::llama().build())).hyperparameters->vocab == 6);
}

TEST_CASE("ggml's types and this library's agree on sizes") {
  for (std::uint32_t number = 0; number < 64; ++number) {
    const DTypeInfo* ours = find_dtype(static_cast<std::int32_t>(number));
    if (!ours) continue;
    CAPTURE(number);
    const GgmlType* known = find_ggml_type(number);
    REQUIRE(known != nullptr);
    CHECK(known->block == ours->block);
    CHECK(known->block_bytes == ours->block_bytes);
  }
}
