// A whole GGUF quantized here against llama.cpp's own quantizer: every tensor's type and bytes, for every mix. The hashes in
// tests/fixtures/quantize_hashes.tsv were made by libllama b11739 (llama-cpp-py-sync 0.11739) from the inputs that this
// program writes when PUNA_WRITE_QUANTIZE_INPUTS names a folder: tests/fixtures/scripts/quantize_hashes.py does both.
#include <cstdlib>
#include <map>
#include <sstream>

#include "puna/base/sha256.hpp"
#include "puna/io/gguf.hpp"
#include "puna/slim/quantize.hpp"
#include "made_weights.hpp"
#include "support.hpp"

using namespace puna_test;
using puna_test::Made;
using puna_test::Shape;

namespace {

constexpr Shape shapes[] = {
    {"grouped", 256, 512, 16, 8, 2, 320, false},  // eighths of layers, grouped queries
    {"tied", 512, 256, 9, 8, 8, 288, true},       // the embedding is the head
    {"narrow", 96, 160, 4, 4, 4, 288, false},     // no row is a multiple of 256: every K type falls back
};

void quantize(std::shared_ptr<const puna::WeightSource> source, const fs::path& out, const puna::Mix* mix) {
  puna::QuantizeOptions options;
  options.mix = mix;
  puna::RuntimeOptions runtime;
  runtime.threads = 2;
  puna::Quantizer quantizer(std::make_shared<puna::Runtime>(runtime), std::move(source), puna::gguf_sink(out.string()), options);
  while (!quantizer.step({}, nullptr)) {
  }
}

// name, type number and bytes of every tensor, in the file's order.
std::string tensor_hash(const fs::path& file) {
  const puna::Gguf g(puna::File::open(file.string()));
  puna::Sha256 sha;
  for (const puna::GgufTensor& t : g.tensors()) {
    const std::string head = t.name + " " + std::to_string(t.type) + "\n";
    sha.update(head.data(), head.size());
    std::vector<std::byte> bytes(t.bytes);
    g.file()->read(t.offset, bytes.data(), bytes.size());
    sha.update(bytes.data(), bytes.size());
  }
  return puna::to_hex(sha.finish());
}

}  // namespace

TEST_CASE("a whole GGUF quantized here is llama.cpp's, tensor by tensor, for every mix on three shapes") {
  std::map<std::pair<std::string, std::string>, std::string> expected;
  std::istringstream table(read_text(fixture("quantize_hashes.tsv")));
  for (std::string shape, mix, hash; table >> shape >> mix >> hash;) expected[{shape, mix}] = hash;
  REQUIRE(expected.size() > 40);
  TempDir temp;
  for (const Shape& shape : shapes) {
    if (sanitized() && std::string(shape.name) != "narrow") continue;  // minutes there; the small one walks the same code
    CAPTURE(std::string(shape.name));
    const auto source = std::make_shared<const Made>(shape);
    quantize(source, temp / "input.gguf", nullptr);
    const std::string input = tensor_hash(temp / "input.gguf");
    REQUIRE(input == expected[{shape.name, "input"}]);
    for (const puna::Mix& mix : puna::mixes()) {
      const auto found = expected.find({shape.name, std::string(mix.name)});
      if (found == expected.end()) continue;  // the table says which mixes that peer chooses otherwise
      CAPTURE(std::string(mix.name));
      quantize(source, temp / "out.gguf", &mix);
      CHECK(tensor_hash(temp / "out.gguf") == found->second);
    }
  }
}

TEST_CASE("the inputs of quantize_hashes.py are written when asked for") {
  const char* folder = std::getenv("PUNA_WRITE_QUANTIZE_INPUTS");
  if (!folder) return;
  for (const Shape& shape : shapes)
    quantize(std::make_shared<const Made>(shape), fs::path(folder) / (std::string(shape.name) + ".gguf"), nullptr);
}
