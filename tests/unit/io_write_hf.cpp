// Hugging Face folders that Puna writes: read back they are the model that went in.
#include "io_write_described.hpp"

using namespace puna;
using puna_test::fixture;
using puna_test::path_text;
using puna_test::Described;
using puna_test::refusal;
using puna_test::TempDir;

TEST_CASE("a folder written in one file or in shards reads back the same, q and k in the order they came in") {
  const TempDir folder;
  int n = 0;
  for (const std::string name : {"gguf/f32.gguf", "gguf/f16.gguf", "gguf/bf16.gguf", "hf/tied", "hf/gqa_sharded",
                                 "hf/f16", "hf/bf16", "hf/rope_linear", "hf/rope_dynamic", "hf/rope_yarn", "hf/tok_json",
                                 "meta/mp1_bf16", "meta/mp8_gqa", "llama2c/v0_tied/model.bin"})
    for (const std::uint64_t shard_bytes : {std::uint64_t{0}, std::uint64_t{20000}, std::uint64_t{1}}) {
      CAPTURE(name);
      CAPTURE(shard_bytes);
      const auto source = open_weights(path_text(fixture(name)));
      const Described d(*source);
      const auto out = path_text(folder / std::to_string(n++));
      const auto sink = hf_sink(out, shard_bytes);
      puna_test::write_all(*source, d.model, *sink, shard_bytes == 0 ? 777 : 0);
      const auto again = open_weights(out);
      CHECK(again->format() == "safetensors");
      puna_test::check_same_weights(*source, *again);
      puna_test::check_same_hyperparameters(source->hyperparameters(), again->hyperparameters());
      const auto back = Tokenizer::create(again->vocab(), again->hyperparameters().vocab);
      REQUIRE((back != nullptr) == (d.tokenizer != nullptr));
      if (back) puna_test::check_same_vocab(d.tokenizer->vocab(), back->vocab());
      std::uint64_t size = 0;
      for (const auto& entry : puna_test::fs::directory_iterator(out)) size += entry.file_size();
      CHECK(sink->bytes_written() == size);
      const auto shards = puna_test::names_in(out);
      if (shard_bytes == 1) CHECK(static_cast<std::size_t>(std::count_if(shards.begin(), shards.end(), [](const auto& s) {
                              return s.ends_with(".safetensors");
                            })) == puna_test::tensors_of(*source).size());
    }
}

TEST_CASE("HF to GGUF to HF keeps the file of weights bit for bit") {
  const TempDir folder;
  for (const std::string name : {"tied", "f16", "bf16", "rope_yarn"}) {
    CAPTURE(name);
    const auto source = open_weights(path_text(fixture("hf/" + name)));
    const Described d(*source);
    const auto direct = path_text(folder / (name + "_direct"));
    puna_test::write_all(*source, d.model, *hf_sink(direct, 0));
    const auto gguf = path_text(folder / (name + ".gguf"));
    puna_test::write_all(*source, d.model, *gguf_sink(gguf));
    const auto middle = open_weights(gguf);
    const Described e(*middle);
    const auto back = path_text(folder / (name + "_back"));
    puna_test::write_all(*middle, e.model, *hf_sink(back, 0));
    CHECK(puna_test::read_file(direct + "/model.safetensors") == puna_test::read_file(back + "/model.safetensors"));
    CHECK(puna_test::read_text(direct + "/config.json") == puna_test::read_text(back + "/config.json"));
  }
}
