// Files that Puna writes, bit for bit those that other programs have read: written_hashes.tsv was recorded by
// scripts/check_written.py after gguf 0.19.0, safetensors 0.8.0 and transformers 5.23.0 had opened every one of them.
// PUNA_KEEP_WRITTEN names a folder to leave them in, for that script.
#include <cstdlib>
#include <optional>
#include <sstream>

#include "io_write_described.hpp"
#include "puna/io/gguf.hpp"

using namespace puna;
using puna_test::Described;
using puna_test::fixture;
using puna_test::path_text;

namespace fs = std::filesystem;

namespace {

// OUTPUT "<-" SOURCE. A name with .gguf at its end is a GGUF file, any other a folder; "sharded" in shards of 20,000 bytes.
struct Written {
  const char* output;
  const char* source;
};
constexpr Written all[] = {
    {"hf_tied.gguf", "hf/tied"},
    {"hf_gqa.gguf", "hf/gqa_sharded"},
    {"hf_f16.gguf", "hf/f16"},
    {"hf_bf16.gguf", "hf/bf16"},
    {"meta_mp2.gguf", "meta/mp2"},
    {"llama2c_v0.gguf", "llama2c/v0_tied/model.bin"},
    {"mixed.gguf", "gguf/mixed.gguf"},
    {"q4_K.gguf", "gguf/q4_K.gguf"},
    {"from_gguf_f32", "gguf/f32.gguf"},
    {"from_gguf_f16", "gguf/f16.gguf"},
    {"from_gguf_bf16", "gguf/bf16.gguf"},
    {"from_hf_tied", "hf/tied"},
    {"from_hf_json", "hf/tok_json"},
    {"from_hf_gqa_sharded", "hf/gqa_sharded"},
    {"from_hf_dynamic", "hf/rope_dynamic"},
    {"from_hf_yarn", "hf/rope_yarn"},
    {"from_meta_mp8", "meta/mp8_gqa"},
    {"from_llama2c_v0", "llama2c/v0_tied/model.bin"},
};

void write(const Written& w, const fs::path& out) {
  const std::string path = path_text(fixture(w.source));
  const auto source = open_weights(path);
  Described d(*source);
  d.model.name = "written";
  std::optional<Gguf> gguf;
  const bool to_gguf = std::string_view(w.output).ends_with(".gguf");
  if (to_gguf && std::string_view(w.source).starts_with("gguf/")) {
    gguf.emplace(File::open(path));
    d.model.gguf = &*gguf;
    d.model.quantized = true;
    d.model.file_type = 15;
  }
  const bool sharded = std::string_view(w.output).ends_with("sharded");
  puna_test::write_all(*source, d.model, to_gguf ? *gguf_sink(path_text(out)) : *hf_sink(path_text(out), sharded ? 20000 : 0));
}

// One line per file.
std::string hashes_of(const fs::path& out, const std::string& name) {
  if (!fs::is_directory(out)) return name + "\t" + puna_test::sha256_of(out) + "\n";
  std::string lines;
  for (const std::string& file : puna_test::names_in(out)) lines += name + "/" + file + "\t" + puna_test::sha256_of(out / file) + "\n";
  return lines;
}

}  // namespace

TEST_CASE("what is written is what other programs have read") {
  const puna_test::TempDir temporary;
  const char* keep = std::getenv("PUNA_KEEP_WRITTEN");
  const fs::path folder = keep ? fs::path(keep) : temporary.path();
  fs::create_directories(folder);
  std::istringstream table(puna_test::read_text(fixture("written_hashes.tsv")));
  std::string expected[std::size(all)];
  for (std::string line; std::getline(table, line);)
    for (std::size_t i = 0; i < std::size(all); ++i) {
      const std::string name = line.substr(0, line.find_first_of("/\t"));
      if (name == all[i].output) expected[i] += line + "\n";
    }
  for (std::size_t i = 0; i < std::size(all); ++i) {
    const std::string name = all[i].output;
    CAPTURE(name);
    fs::remove_all(folder / name);
    write(all[i], folder / name);
    CHECK(hashes_of(folder / name, name) == expected[i]);
  }
}
