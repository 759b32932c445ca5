// GGUF files that Puna writes: read back they are the model that went in.
#include "puna/io/gguf.hpp"

#include <map>

#include "io_write_support.hpp"
#include "puna/io/hf_folder.hpp"

using namespace puna;
using puna_test::fixture;
using puna_test::path_text;
using puna_test::refusal;
using puna_test::TempDir;

namespace {

std::shared_ptr<const Tokenizer> tokenizer_of(const WeightSource& source) {
  return Tokenizer::create(source.vocab(), source.hyperparameters().vocab);
}

// A description from the hyperparameters alone, as for a source that is no GGUF.
ModelDescription describe(const WeightSource& source, const Tokenizer* tokenizer) {
  ModelDescription model;
  model.hyperparameters = source.hyperparameters();
  model.vocab = tokenizer ? &tokenizer->vocab() : nullptr;
  model.name = "a name";
  return model;
}

const char* const gguf_fixtures[] = {"f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl",
                                     "q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_xs", "mixed", "v2"};

}  // namespace

TEST_CASE("a GGUF source written again keeps every entry and every tensor's bytes") {
  const TempDir folder;
  for (const std::string name : gguf_fixtures) {
    CAPTURE(name);
    const auto path = path_text(fixture("gguf/" + name + ".gguf"));
    const auto source = open_weights(path);
    const Gguf gguf(File::open(path));
    ModelDescription model;
    model.hyperparameters = source->hyperparameters();
    model.gguf = &gguf;
    model.file_type = 7;
    model.quantized = true;
    model.extra = {{"general.note", "added"}};
    const auto out = path_text(folder / name);
    const auto sink = gguf_sink(out);
    puna_test::write_all(*source, model, *sink, 1000);
    const auto tensors = puna_test::tensors_of(*source);
    CHECK(gguf_bytes(model, tensors) == puna_test::fs::file_size(out));
    CHECK(sink->bytes_written() == puna_test::fs::file_size(out));

    const auto again = open_weights(out);
    puna_test::check_same_weights(*source, *again);
    puna_test::check_same_hyperparameters(source->hyperparameters(), again->hyperparameters());
    puna_test::check_same_vocab(tokenizer_of(*source)->vocab(), tokenizer_of(*again)->vocab());
    const Gguf written(File::open(out));
    CHECK(written.version() == 3);
    CHECK(written.alignment() == gguf.alignment());
    CHECK(written.whole("general.file_type") == 7u);
    CHECK(written.whole("general.quantization_version") == 2u);
    CHECK(written.text("general.note") == "added");
    for (const GgufEntry& e : gguf.entries()) {
      if (e.key == "general.file_type" || e.key == "general.quantization_version") continue;
      const GgufEntry* w = written.find(e.key);
      CAPTURE(e.key);
      REQUIRE(w != nullptr);
      CHECK(w->type == e.type);
      CHECK(written.value_text(*w) == gguf.value_text(e));
    }
    // The last two set keys stand at the end, as ggml leaves them, before what was added.
    REQUIRE(written.entries().size() >= 3);
    CHECK(written.entries().end()[-3].key == "general.quantization_version");
    CHECK(written.entries().end()[-2].key == "general.file_type");
  }
  CHECK(puna_test::names_in(folder.path()).size() == std::size(gguf_fixtures));
}

TEST_CASE("written from hyperparameters and vocabulary alone, a model reads back the same") {
  const TempDir folder;
  for (const std::string name : {"gguf/f32.gguf", "gguf/f16.gguf", "gguf/bf16.gguf", "gguf/q6_K.gguf", "hf/tied",
                                 "hf/gqa_sharded", "hf/rope_yarn", "hf/rope_linear", "hf/bf16", "meta/mp2",
                                 "llama2c/v0_tied/model.bin"}) {
    CAPTURE(name);
    const auto source = open_weights(path_text(fixture(name)));
    const auto tokenizer = tokenizer_of(*source);
    const auto out = path_text(folder / "model.gguf");
    puna_test::write_all(*source, describe(*source, tokenizer.get()), *gguf_sink(out));
    const auto again = open_weights(out);
    puna_test::check_same_weights(*source, *again);
    puna_test::check_same_hyperparameters(source->hyperparameters(), again->hyperparameters());
    const auto back = tokenizer_of(*again);
    REQUIRE((back != nullptr) == (tokenizer != nullptr));
    if (back) puna_test::check_same_vocab(tokenizer->vocab(), back->vocab());
  }
}

namespace {

// Llama 2 70B: 723 tensors, 68,976,648,192 elements.
Hyperparameters seventy_billion() {
  Hyperparameters h;
  h.dim = 8192;
  h.ffn_dim = 28672;
  h.layers = 80;
  h.heads = 64;
  h.kv_heads = 8;
  h.vocab = 32000;
  h.context = 4096;
  return h;
}

std::vector<SinkTensor> tensors_of_70b(DType matrices, DType vectors) {
  std::vector<SinkTensor> out{{Part::token_embedding, 0, matrices, 32000, 8192},
                              {Part::output_norm, 0, vectors, 1, 8192},
                              {Part::output, 0, matrices, 32000, 8192}};
  for (std::uint32_t layer = 0; layer < 80; ++layer) {
    out.push_back({Part::attn_norm, layer, vectors, 1, 8192});
    out.push_back({Part::ffn_norm, layer, vectors, 1, 8192});
    for (const Part part : {Part::wq, Part::wo}) out.push_back({part, layer, matrices, 8192, 8192});
    for (const Part part : {Part::wk, Part::wv}) out.push_back({part, layer, matrices, 1024, 8192});
    for (const Part part : {Part::gate, Part::up}) out.push_back({part, layer, matrices, 28672, 8192});
    out.push_back({Part::down, layer, matrices, 8192, 28672});
  }
  return out;
}

}  // namespace

TEST_CASE("the header of a 70B model: its last tensors lie far beyond 2^32 and where they should") {
  const TempDir folder;
  ModelDescription model;
  model.hyperparameters = seventy_billion();
  const auto tensors = tensors_of_70b(DType::f16, DType::f32);
  REQUIRE(tensors.size() == 723);
  const std::uint64_t size = gguf_bytes(model, tensors);
  const auto sink = gguf_sink(path_text(folder / "70b.gguf"));
  sink->begin(model, tensors);
  const std::vector<std::byte> zeros(std::size_t{4} << 20);
  sink->write(zeros.data(), zeros.size());  // so that the header is in the temporary file
  const auto names = puna_test::names_in(folder.path());
  REQUIRE(names.size() == 1);
  puna_test::fs::copy_file(folder / names[0], folder / "copy.gguf");
  puna_test::fs::resize_file(folder / "copy.gguf", size);  // a hole
  const Gguf gguf(File::open(path_text(folder / "copy.gguf")));
  REQUIRE(gguf.tensors().size() == tensors.size());
  std::uint64_t at = gguf.tensors()[0].offset, elements = 0;
  CHECK(at % 32 == 0);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t n = tensors[i].rows * tensors[i].columns;
    CHECK(gguf.tensors()[i].offset == at);
    CHECK(gguf.tensors()[i].bytes == n * (tensors[i].rows == 1 ? 4 : 2));
    at += gguf.tensors()[i].bytes;  // all multiples of 32
    elements += n;
  }
  CHECK(elements == 68'976'648'192);
  CHECK(at == size);
  CHECK(at > std::uint64_t{130'000'000'000});
  puna_test::check_same_hyperparameters(open_weights(path_text(folder / "copy.gguf"))->hyperparameters(),
                                        model.hyperparameters);
}

TEST_CASE("a 70B folder is cut into shards of at most 5 GB, all named in its index") {
  const TempDir folder;
  ModelDescription model;
  model.hyperparameters = seventy_billion();
  const auto tensors = tensors_of_70b(DType::bf16, DType::bf16);
  const auto sink = hf_sink(path_text(folder / "70b"), 0);
  sink->begin(model, tensors);
  const auto names = puna_test::names_in(folder.path());
  REQUIRE(names.size() == 1);
  const auto index_path = path_text(folder / names[0] / "model.safetensors.index.json");
  const Json index = read_json_file(index_path);
  CHECK(*index.find("metadata")->find("total_size")->whole() == 137'953'296'384);
  const auto map = read_weight_map(index, index_path);
  CHECK(map.size() == 723);
  std::map<std::string, std::uint64_t> shards;
  for (const SinkTensor& t : tensors)
    for (const auto& [name, shard] : map) {
      static constexpr std::string_view hf[] = {"embed_tokens", "input_layernorm", "q_proj", "k_proj", "v_proj", "o_proj",
                                                "post_attention_layernorm", "gate_proj", "up_proj", "down_proj", "model.norm",
                                                "lm_head"};
      const bool of_part = name.find(hf[static_cast<std::size_t>(t.part)]) != std::string::npos;
      const bool of_layer = !part_is_per_layer(t.part) || name.find("layers." + std::to_string(t.layer) + ".") != std::string::npos;
      if (of_part && of_layer) shards[shard] += t.rows * t.columns * 2;
    }
  std::uint64_t total = 0;
  for (const auto& [shard, bytes] : shards) {
    CHECK(bytes <= 5'000'000'000);
    CHECK(shard.ends_with("-of-000" + std::to_string(shards.size()) + ".safetensors"));
    total += bytes;
  }
  CHECK(total == 137'953'296'384);
  CHECK(shards.size() >= 28);
}

TEST_CASE("tensors whose bytes are no multiple of the alignment are padded, the last one too") {
  const TempDir folder;
  const SinkTensor tensors[] = {{Part::output_norm, 0, DType::f32, 1, 7},
                                {Part::token_embedding, 0, DType::f16, 3, 7},
                                {Part::output, 0, DType::q4_0, 3, 32}};
  const auto sink = gguf_sink(path_text(folder / "out"));
  sink->begin({}, tensors);
  const std::string bytes = std::string(28, 'a') + std::string(42, 'b') + std::string(54, 'c');
  for (const char& c : bytes) sink->write(reinterpret_cast<const std::byte*>(&c), 1);
  sink->finish();
  const std::string text = puna_test::read_text(folder / "out");
  const std::string data = std::string(28, 'a') + std::string(4, '\0') + std::string(42, 'b') + std::string(22, '\0') +
                           std::string(54, 'c') + std::string(10, '\0');
  CHECK(text.size() % 32 == 0);
  CHECK(text.ends_with(data));
  const Gguf gguf(File::open(path_text(folder / "out")));
  for (std::size_t i = 0; i < 3; ++i) CHECK(text[gguf.tensors()[i].offset] == "abc"[i]);
  CHECK(gguf.tensors()[2].dims == std::array<std::uint64_t, 4>{32, 3, 1, 1});
}

TEST_CASE("what GGUF cannot say is refused before anything is written") {
  const TempDir folder;
  const auto source = open_weights(path_text(fixture("hf/tok_json")));
  const auto tokenizer = tokenizer_of(*source);
  ModelDescription model = describe(*source, tokenizer.get());
  const auto tensors = puna_test::tensors_of(*source);
  const auto begin = [&] { gguf_sink(path_text(folder / "out"))->begin(model, tensors); };
  if (tokenizer->vocab().merge_rules) refusal(Code::unsupported, {"tokenizer.json", "tokenizer.model"}, begin);
  model.vocab = nullptr;
  model.hyperparameters.rope_scaling = Hyperparameters::RopeScaling::dynamic;
  refusal(Code::unsupported, {"rope_scaling", "dynamic"}, begin);
  model.hyperparameters.rope_scaling = Hyperparameters::RopeScaling::none;
  model.hyperparameters.context = std::uint64_t{1} << 32;
  refusal(Code::unsupported, {"llama.context_length", "4294967296"}, begin);
  CHECK(puna_test::names_in(folder.path()).empty());
}
