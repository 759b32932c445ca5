// GGUF files that Puna writes: read back they are the model that went in.
#include "puna/io/gguf.hpp"

#include "io_write_support.hpp"

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
