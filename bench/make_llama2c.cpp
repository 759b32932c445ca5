// Writes a llama2.c model of a known shape with random weights, and a vocabulary for it: something of any size to time
// where no trained file is at hand.
//   make_llama2c 15m OUT.bin OUT.tok [SEQ_LEN]
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Shape {
  const char* name;
  std::int32_t dim, hidden, layers, heads, kv_heads, vocab;
};
constexpr Shape shapes[] = {{"260k", 64, 172, 5, 8, 4, 512},
                            {"15m", 288, 768, 6, 6, 6, 32000},
                            {"42m", 512, 1376, 8, 8, 8, 32000},
                            {"110m", 768, 2048, 12, 12, 12, 32000}};

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
  template <class T>
  void write(const T* values, std::size_t count) {
    if (std::fwrite(values, sizeof(T), count, file_) != count) std::perror("write"), std::exit(1);
  }

 private:
  std::FILE* file_;
};

// Uniform, with the variance that keeps activations of order one.
class Weights {
 public:
  explicit Weights(File& file) : file_(file) {}
  void random(std::size_t rows, std::size_t columns, double deviation) {
    std::vector<float> row(columns);
    const double half = deviation * std::sqrt(3.0);
    for (std::size_t r = 0; r < rows; ++r) {
      for (float& value : row) value = static_cast<float>((next() * 2 - 1) * half);
      file_.write(row.data(), columns);
    }
  }
  void constant(std::size_t count, float value) {
    const std::vector<float> values(count, value);
    file_.write(values.data(), count);
  }

 private:
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) / 9007199254740992.0;
  }
  File& file_;
  std::uint64_t state_ = 42;
};

// Version 0: seven integers, then float32 tensors of all layers by kind; a positive vocabulary means a tied head.
void write_model(const Shape& s, std::int32_t length, const char* name) {
  File file(name);
  const std::int32_t header[7] = {s.dim, s.hidden, s.layers, s.heads, s.kv_heads, s.vocab, length};
  file.write(header, 7);
  Weights w(file);
  const auto size = [](std::int32_t n) { return static_cast<std::size_t>(n); };
  const std::size_t dim = size(s.dim), hidden = size(s.hidden), layers = size(s.layers);
  const std::size_t head = dim / size(s.heads), kv = head * size(s.kv_heads);
  const double in = 1 / std::sqrt(static_cast<double>(dim)), inner = 1 / std::sqrt(static_cast<double>(hidden));
  w.constant(2 * dim, 0);  // tokens 0 and 1 score 0: never the likeliest, so run.c never stops at its BOS
  w.random(size(s.vocab) - 2, dim, 1);
  w.constant(layers * dim, 1);
  w.random(layers * dim, dim, in);         // q
  w.random(layers * kv, dim, in);          // k
  w.random(layers * kv, dim, in);          // v
  w.random(layers * dim, dim, in);         // output
  w.constant(layers * dim, 1);
  w.random(layers * hidden, dim, in);      // gate
  w.random(layers * dim, hidden, inner);   // down
  w.random(layers * hidden, dim, in);      // up
  w.constant(dim, 1);
  w.constant(size(length) * head, 0);      // angles that nobody reads any more
}

// Per piece a score, a length and bytes; the first 259 as sentencepiece has them.
void write_vocabulary(const Shape& s, const char* name) {
  File file(name);
  const std::uint32_t longest = 8;
  file.write(&longest, 1);
  for (std::int32_t id = 0; id < s.vocab; ++id) {
    char piece[16];
    if (id < 3)
      std::snprintf(piece, sizeof piece, "%s", id == 0 ? "<unk>" : id == 1 ? "\n<s>\n" : "\n</s>\n");
    else if (id < 259)
      std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned>(id - 3));
    else
      std::snprintf(piece, sizeof piece, " w%d", static_cast<int>(id));
    const float score = id < 259 ? 0 : -static_cast<float>(id - 258);
    const std::int32_t length = static_cast<std::int32_t>(std::strlen(piece));
    file.write(&score, 1);
    file.write(&length, 1);
    file.write(piece, static_cast<std::size_t>(length));
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (const Shape& shape : shapes) {
    if (argc < 4 || std::strcmp(argv[1], shape.name) != 0) continue;
    const int length = argc > 4 ? std::atoi(argv[4]) : 1024;
    if (length < 1) break;
    write_model(shape, length, argv[2]);
    write_vocabulary(shape, argv[3]);
    return 0;
  }
  std::fprintf(stderr, "usage: %s 260k|15m|42m|110m OUT.bin OUT.tok [SEQ_LEN]\n", argv[0]);
  return 2;
}
