// Writes a GGUF of a known shape with random weights and a vocabulary: one file that every program of bench/peers.sh reads.
// Blocks are random codes with a fixed small scale, so a gigabyte takes a second and no value is infinite.
//   make_gguf 1.1b:q4_0 OUT.gguf
// Shapes: 7b, 13b, 1.1b, 110m, 15m. Types: f16, bf16, q4_0, q8_0, q4_k_m, q6_k; q4_0 and q4_k_m keep the head, q4_k_m
// half of the v and down matrices, as q6_k, as the quantizers in use do.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Shape {
  const char* name;
  std::uint32_t dim, ffn, layers, heads, kv_heads, vocab, context;
};
constexpr Shape shapes[] = {{"7b", 4096, 11008, 32, 32, 32, 32000, 4096},   {"13b", 5120, 13824, 40, 40, 40, 32000, 4096},
                            {"1.1b", 2048, 5632, 22, 32, 4, 32000, 2048},   {"110m", 768, 2048, 12, 12, 12, 32000, 1024},
                            {"15m", 288, 768, 6, 6, 6, 32000, 256}};

struct Type {
  const char* name;
  std::uint32_t number, block, bytes;
  int scales[2];  // where a block keeps its fp16 scales; -1: none
};
constexpr Type f32{"f32", 0, 1, 4, {-1, -1}}, q6_k{"q6_k", 14, 256, 210, {208, -1}};
constexpr Type types[] = {{"f16", 1, 1, 2, {-1, -1}},      {"bf16", 30, 1, 2, {-1, -1}},    {"q4_0", 2, 32, 18, {0, -1}},
                          {"q8_0", 8, 32, 34, {0, -1}},    {"q4_k_m", 12, 256, 144, {0, 2}}, q6_k};

struct Tensor {
  std::string name;
  std::uint64_t rows, columns;
  Type type;
  std::uint64_t bytes() const { return rows * columns / type.block * type.bytes; }
};

class File {
 public:
  explicit File(const char* name) : file_(std::fopen(name, "wb")) {
    if (!file_) std::perror(name), std::exit(1);
  }
  ~File() {
    if (std::fclose(file_) != 0) std::perror("close"), std::exit(1);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void raw(const void* data, std::size_t bytes) {
    if (std::fwrite(data, 1, bytes, file_) != bytes) std::perror("write"), std::exit(1);
    at_ += bytes;
  }
  template <class T>
  void value(T v) { raw(&v, sizeof v); }  // little-endian machines only
  void text(const std::string& s) { value(std::uint64_t{s.size()}), raw(s.data(), s.size()); }
  void key(const std::string& name, std::uint32_t type) { text(name), value(type); }
  void number(const std::string& name, std::uint32_t v) { key(name, 4), value(v); }
  void real(const std::string& name, float v) { key(name, 6), value(v); }
  void string(const std::string& name, const std::string& v) { key(name, 8), text(v); }
  void array(const std::string& name, std::uint32_t type, std::uint64_t count) { key(name, 9), value(type), value(count); }
  void align() {
    static const char zeros[32] = {};
    raw(zeros, (32 - at_ % 32) % 32);
  }

 private:
  std::FILE* file_;
  std::uint64_t at_ = 0;
};

std::vector<Tensor> tensors_of(const Shape& s, const Type& type) {
  const bool mix = std::strcmp(type.name, "q4_k_m") == 0, four = std::strcmp(type.name, "q4_0") == 0;
  const std::uint64_t kv = std::uint64_t{s.dim} / s.heads * s.kv_heads;
  std::vector<Tensor> out;
  out.push_back({"token_embd.weight", s.vocab, s.dim, type});
  out.push_back({"output_norm.weight", 1, s.dim, f32});
  out.push_back({"output.weight", s.vocab, s.dim, mix || (four && s.dim % 256 == 0) ? q6_k : type});
  for (std::uint32_t i = 0; i < s.layers; ++i) {
    const std::string b = "blk." + std::to_string(i) + ".";
    const bool more = i < s.layers / 8 || i >= 7 * s.layers / 8 || (i - s.layers / 8) % 3 == 2;
    const Type& better = mix && more ? q6_k : type;
    out.push_back({b + "attn_norm.weight", 1, s.dim, f32});
    out.push_back({b + "attn_q.weight", s.dim, s.dim, type});
    out.push_back({b + "attn_k.weight", kv, s.dim, type});
    out.push_back({b + "attn_v.weight", kv, s.dim, better});
    out.push_back({b + "attn_output.weight", s.dim, s.dim, type});
    out.push_back({b + "ffn_norm.weight", 1, s.dim, f32});
    out.push_back({b + "ffn_gate.weight", s.ffn, s.dim, type});
    out.push_back({b + "ffn_up.weight", s.ffn, s.dim, type});
    out.push_back({b + "ffn_down.weight", s.dim, s.ffn, better});
  }
  for (const Tensor& t : out)
    if (t.columns % t.type.block != 0) std::fprintf(stderr, "%s: no whole blocks of %s\n", t.name.c_str(), t.type.name), std::exit(2);
  return out;
}

void write_header(File& file, const Shape& s, const std::vector<Tensor>& tensors) {
  file.raw("GGUF", 4), file.value(std::uint32_t{3}), file.value(std::uint64_t{tensors.size()}), file.value(std::uint64_t{18});
  file.string("general.architecture", "llama"), file.string("general.name", std::string("random ") + s.name);
  file.number("llama.context_length", s.context), file.number("llama.embedding_length", s.dim);
  file.number("llama.block_count", s.layers), file.number("llama.feed_forward_length", s.ffn);
  file.number("llama.attention.head_count", s.heads), file.number("llama.attention.head_count_kv", s.kv_heads);
  file.number("llama.rope.dimension_count", s.dim / s.heads), file.number("llama.vocab_size", s.vocab);
  file.real("llama.attention.layer_norm_rms_epsilon", 1e-5f), file.real("llama.rope.freq_base", 10000);
  file.string("tokenizer.ggml.model", "llama");
  file.array("tokenizer.ggml.tokens", 8, s.vocab);
  for (std::uint32_t id = 0; id < s.vocab; ++id) {
    char piece[16];
    if (id < 3) std::snprintf(piece, sizeof piece, "%s", id == 0 ? "<unk>" : id == 1 ? "<s>" : "</s>");
    else if (id < 259) std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned>(id - 3));
    else std::snprintf(piece, sizeof piece, "\xe2\x96\x81w%u", static_cast<unsigned>(id));
    file.text(piece);
  }
  file.array("tokenizer.ggml.scores", 6, s.vocab);
  for (std::uint32_t id = 0; id < s.vocab; ++id) file.value(id < 259 ? 0.0f : -static_cast<float>(id - 258));
  file.array("tokenizer.ggml.token_type", 5, s.vocab);
  for (std::uint32_t id = 0; id < s.vocab; ++id) file.value(std::int32_t{id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1});
  file.number("tokenizer.ggml.bos_token_id", 1), file.number("tokenizer.ggml.eos_token_id", 2);
  std::uint64_t offset = 0;
  for (const Tensor& t : tensors) {
    file.text(t.name);
    file.value(std::uint32_t{t.rows == 1 ? 1u : 2u}), file.value(t.columns);
    if (t.rows != 1) file.value(t.rows);
    file.value(t.type.number), file.value(offset);
    offset += (t.bytes() + 31) / 32 * 32;
  }
}

void write_tensor(File& file, const Tensor& t) {
  static std::uint64_t state = 42;
  const auto next = [] { return state = state * 6364136223846793005u + 1442695040888963407u; };
  std::vector<unsigned char> row(t.columns / t.type.block * t.type.bytes);
  for (std::uint64_t r = 0; r < t.rows; ++r) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<unsigned char>(next() >> 56);
    if (t.type.number == 0)
      for (std::size_t i = 0; i < row.size(); i += 4) std::memcpy(&row[i], "\0\0\x80\x3f", 4);  // a norm of ones
    else if (t.type.block == 1)  // between 2^-7 and 2^-5 as f16, about as small as bf16, of both signs
      for (std::size_t i = 1; i < row.size(); i += 2)
        row[i] = static_cast<unsigned char>((row[i] & 0x80) | (t.type.number == 1 ? 0x20 | (row[i] & 7) : 0x3c));
    else
      for (std::size_t i = 0; i < row.size(); i += t.type.bytes)
        for (const int scale : t.type.scales)
          if (scale >= 0) std::memcpy(&row[i + static_cast<std::size_t>(scale)], t.type.block == 32 ? "\x19\x18" : "\x8e\x06", 2);
    file.raw(row.data(), row.size());
  }
  file.align();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string spec = argc == 3 ? argv[1] : "";
  const std::string name = spec.substr(0, spec.find(':')), kind = spec.substr(spec.find(':') + 1);
  for (const Shape& shape : shapes)
    for (const Type& type : types) {
      if (name != shape.name || kind != type.name) continue;
      const std::vector<Tensor> tensors = tensors_of(shape, type);
      File file(argv[2]);
      write_header(file, shape, tensors);
      file.align();
      for (const Tensor& t : tensors) write_tensor(file, t);
      return 0;
    }
  std::fprintf(stderr, "usage: %s SHAPE:TYPE OUT.gguf\n  SHAPE 7b|13b|1.1b|110m|15m, TYPE f16|bf16|q4_0|q8_0|q4_k_m|q6_k\n", argv[0]);
  return 2;
}
