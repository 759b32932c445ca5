#include "puna/infer/synthetic.hpp"

#include <array>
#include <charconv>
#include <cstring>

#include "puna/base/checked.hpp"
#include "puna/base/half.hpp"
#include "puna/base/rng.hpp"
#include "puna/nn/config.hpp"
#include "puna/tensor/blocks.hpp"

namespace puna {
namespace {

struct Shape {
  const char* name;
  std::uint64_t dim, layers, heads, kv_heads, ffn, vocab, context;
  bool tied = false;
};

// Facts: the published config.json and params.json of each family.
constexpr Shape shapes[] = {
    {"7b", 4096, 32, 32, 32, 11008, 32000, 4096},        {"13b", 5120, 40, 40, 40, 13824, 32000, 4096},
    {"34b", 8192, 48, 64, 8, 22016, 32000, 16384},       {"70b", 8192, 80, 64, 8, 28672, 32000, 4096},
    {"70b-layers", 8192, 4, 64, 8, 28672, 32000, 4096},  {"1.1b", 2048, 22, 32, 4, 5632, 32000, 2048},
    {"110m", 768, 12, 12, 12, 2048, 32000, 1024},        {"42m", 512, 8, 8, 8, 1376, 32000, 1024},
    {"15m", 288, 6, 6, 6, 768, 32000, 256},              {"260k", 64, 5, 8, 4, 172, 512, 512},
};

// Where a block keeps its fp16 scales: random bits there would be infinities.
std::array<int, 2> scale_offsets(DType type) {
  switch (type) {
    case DType::q4_0: case DType::q5_0: case DType::q8_0: case DType::iq4_nl: case DType::iq4_xs: return {0, -1};
    case DType::q4_1: case DType::q5_1: case DType::q4_k: case DType::q5_k: return {0, 2};
    case DType::q2_k: return {80, 82};
    case DType::q3_k: return {108, -1};
    case DType::q6_k: return {208, -1};
    default: return {-1, -1};
  }
}

class Synthetic final : public WeightSource {
 public:
  Synthetic(const Shape& shape, DType type, std::string spec) : spec_(std::move(spec)), tied_(shape.tied) {
    h_.dim = shape.dim, h_.layers = shape.layers, h_.heads = shape.heads, h_.kv_heads = shape.kv_heads;
    h_.ffn_dim = shape.ffn, h_.vocab = shape.vocab, h_.context = shape.context;
    const Config c = make_config(h_, spec_);
    for (int i = 0; i < part_count; ++i) {
      const Part part = static_cast<Part>(i);
      const PartShape s = part_shape(c, part);
      const bool fits = s.rows > 1 && s.columns % info(type).block == 0;
      // Rows that no block divides are stored as F16, norms as F32.
      infos_[static_cast<std::size_t>(i)] = {std::string(part_name(part)), fits ? type : s.rows > 1 ? DType::f16 : DType::f32, s.rows, s.columns};
    }
  }
  std::string format() const override { return "synthetic"; }
  std::string name() const override { return spec_; }
  const Hyperparameters& hyperparameters() const override { return h_; }
  const WeightInfo* find(Part part, std::uint32_t) const override {
    return part == Part::output && tied_ ? nullptr : &infos_[static_cast<std::size_t>(part)];
  }
  const std::byte* borrow(Part, std::uint32_t) const override { return nullptr; }
  void copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const override;
  VocabSource vocab() const override { return {}; }
  std::vector<MetadataEntry> metadata() const override { return {{"general.name", spec_}}; }
  std::vector<std::shared_ptr<const File>> files() const override { return {}; }

 private:
  std::string spec_;
  bool tied_;
  Hyperparameters h_;
  std::array<WeightInfo, part_count> infos_;
};

void Synthetic::copy(Part part, std::uint32_t layer, std::uint64_t row, std::uint64_t count, std::byte* dst) const {
  const WeightInfo& w = infos_[static_cast<std::size_t>(part)];
  const std::size_t bytes = static_cast<std::size_t>(row_bytes(w.type, w.columns) * count);
  std::uint64_t state = (static_cast<std::uint64_t>(part) << 56) ^ (static_cast<std::uint64_t>(layer) << 40) ^ row ^ 0x9E3779B97F4A7C15ull;
  const auto next = [&] {  // xorshift64*: fast enough to fill gigabytes, and only for filling
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Dull;
  };
  if (w.rows == 1) {
    for (std::size_t i = 0; i < bytes / 4; ++i) std::memcpy(dst + i * 4, "\0\0\x80\x3f", 4);  // norms of ones
    return;
  }
  if (w.type == DType::f32 || w.type == DType::f16 || w.type == DType::bf16) {
    const std::size_t size = info(w.type).block_bytes;
    for (std::size_t i = 0; i < bytes / size; ++i) {
      const float x = static_cast<float>(static_cast<std::int32_t>(next() >> 40) - (1 << 23)) * (0.04f / (1 << 23));
      const Half half = to_half(x);
      const BFloat16 brain = to_bfloat16(x);
      std::memcpy(dst + i * size, w.type == DType::f32 ? static_cast<const void*>(&x) : w.type == DType::f16 ? static_cast<const void*>(&half) : &brain, size);
    }
    return;
  }
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    const std::uint64_t bits = next();
    std::memcpy(dst + i, &bits, 8);
  }
  std::memset(dst + bytes / 8 * 8, 0x5a, bytes % 8);
  const Half scale = to_half(0.002f);
  const std::size_t block = info(w.type).block_bytes;
  for (int offset : scale_offsets(w.type))
    if (offset >= 0)
      for (std::size_t at = static_cast<std::size_t>(offset); at < bytes; at += block) std::memcpy(dst + at, &scale, 2);
}

// "dim=64,layers=5,heads=8,vocab=512": kv_heads is heads unless said, ffn Llama's (two thirds of 4 dim, up to a multiple of 32),
// context 2048, tied 0.
Shape parse_shape(const std::string& text) {
  Shape s{"", 0, 0, 0, 0, 0, 0, 2048, false};
  std::uint64_t tied = 0;
  const std::pair<std::string_view, std::uint64_t*> fields[] = {{"dim", &s.dim},     {"layers", &s.layers},   {"heads", &s.heads}, {"kv_heads", &s.kv_heads},
                                                                {"ffn", &s.ffn},     {"vocab", &s.vocab},     {"context", &s.context}, {"tied", &tied}};
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view item = std::string_view(text).substr(at, end - at);
    const std::size_t equals = item.find('=');
    std::uint64_t* to = nullptr;
    for (const auto& [name, place] : fields)
      if (item.substr(0, equals) == name) to = place;
    if (!to || equals == std::string_view::npos)
      fail(Code::argument, "model shape \"" + text + "\": \"" + std::string(item) + "\" is none of dim=, layers=, heads=, kv_heads=, ffn=, vocab=, context=, tied=");
    const std::string_view number = item.substr(equals + 1);
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), *to);
    if (error != std::errc() || stop != number.data() + number.size() || *to > 0xffffffffu)
      fail(Code::argument, "model shape \"" + text + "\": \"" + std::string(item) + "\" has no whole number");
    at = end + 1;
  }
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  if (s.ffn == 0) s.ffn = (s.dim * 8 / 3 + 31) / 32 * 32;
  s.tied = tied != 0;
  return s;
}

}  // namespace

std::unique_ptr<WeightSource> synthetic_weights(const std::string& spec) {
  const std::size_t colon = spec.find(':');
  const std::string name = spec.substr(0, colon);
  const auto type = dtype_from_name(colon == std::string::npos ? "f16" : spec.substr(colon + 1));
  if (!type || *type == DType::q8_f32) fail(Code::argument, "synthetic model \"" + spec + "\": unknown type");
  if (name.find('=') != std::string::npos) return std::make_unique<Synthetic>(parse_shape(name), *type, spec);
  std::string known;
  for (const Shape& shape : shapes) {
    if (name == shape.name) {
      return std::make_unique<Synthetic>(shape, *type, spec);
    }
    known += std::string(known.empty() ? "" : ", ") + shape.name;
  }
  fail(Code::argument, "synthetic model \"" + spec + "\": the shapes are " + known);
}

}  // namespace puna
