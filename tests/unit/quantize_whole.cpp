// A whole GGUF quantized here against llama.cpp's own quantizer: every tensor's type and bytes, for every mix. The hashes in
// tests/fixtures/quantize_hashes.tsv were made by libllama b11739 (llama-cpp-py-sync 0.11739) from the inputs that this
// program writes when PUNA_WRITE_QUANTIZE_INPUTS names a folder: tests/fixtures/scripts/quantize_hashes.py does both.
#include <cstdlib>
#include <map>
#include <sstream>

#include "puna/base/rng.hpp"
#include "puna/base/sha256.hpp"
#include "puna/io/gguf.hpp"
#include "puna/nn/config.hpp"
#include "puna/slim/quantize.hpp"
#include "support.hpp"

using namespace puna_test;
using puna::Part;

namespace {

struct Shape {
  const char* name;
  std::uint64_t dim, ffn, layers, heads, kv_heads, vocab;
  bool tied;
};
constexpr Shape shapes[] = {
    {"grouped", 256, 512, 16, 8, 2, 320, false},  // eighths of layers, grouped queries
    {"tied", 512, 256, 9, 8, 8, 288, true},       // the embedding is the head
    {"narrow", 96, 160, 4, 4, 4, 288, false},     // no row is a multiple of 256: every K type falls back
};

// f32 weights that any machine makes alike.
class Made final : public puna::WeightSource {
 public:
  explicit Made(const Shape& s) : name_(s.name) {
    h_.dim = s.dim, h_.ffn_dim = s.ffn, h_.layers = s.layers, h_.heads = s.heads, h_.kv_heads = s.kv_heads;
    h_.vocab = s.vocab, h_.context = 64;
    const puna::Config c = puna::make_config(h_, name_);
    for (int p = 0; p < puna::part_count; ++p) {
      const auto shape = puna::part_shape(c, static_cast<Part>(p));
      infos_[p] = {std::string(puna::part_name(static_cast<Part>(p))), puna::DType::f32, shape.rows, shape.columns};
    }
    tied_ = s.tied;
  }
  std::string format() const override { return "made"; }
  std::string name() const override { return name_; }
  const puna::Hyperparameters& hyperparameters() const override { return h_; }
  const puna::WeightInfo* find(Part part, std::uint32_t) const override {
    return tied_ && part == Part::output ? nullptr : &infos_[static_cast<int>(part)];
  }
  const std::byte* borrow(Part, std::uint32_t) const override { return nullptr; }
  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override {
    const std::uint64_t columns = infos_[static_cast<int>(part)].columns;
    for (std::uint64_t r = row; r < row + count; ++r) {
      puna::Rng rng(static_cast<std::uint64_t>(part) << 32 | layer, r);
      for (std::uint64_t i = 0; i < columns; ++i) {
        const std::uint64_t bits = rng.next();
        // A sum of four: more small values than large ones, as weights have.
        int sum = 0;
        for (int k = 0; k < 4; ++k) sum += static_cast<int>(bits >> (16 * k) & 0xffff) - 32768;
        const float x = static_cast<float>(sum) * 0x1.0p-20f;
        std::memcpy(dst + ((r - row) * columns + i) * 4, &x, 4);
      }
    }
  }
  puna::VocabSource vocab() const override { return {}; }
  std::vector<puna::MetadataEntry> metadata() const override { return {}; }
  std::vector<std::shared_ptr<const puna::File>> files() const override { return {}; }

 private:
  std::string name_;
  puna::Hyperparameters h_;
  puna::WeightInfo infos_[puna::part_count];
  bool tied_ = false;
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
