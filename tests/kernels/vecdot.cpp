// ggml's own row products (llama.cpp c392e50): row r of the vectors with row r+1 as its activations.
#include <cstdio>
#include <sstream>

#include "cases.hpp"

using namespace puna;
using namespace puna_test;

TEST_CASE("row products are those of ggml, up to how each quantizes activations") {
  // ggml turns activations of block types into int8 per 32 (Q4_0, Q8_0) or per 256 (K types), and those of f16 and bf16
  // into that type; here they are int8 per 32, or f32. Rounding to a step s leaves an error of s/sqrt(12) per element,
  // independent over the row: the product's is that times the row's length. The bound is six such deviations, both sides'.
  const std::size_t n = 1024;
  PUNA_SHARED(input_path, "quant_vectors/input_32x1024.f32");
  const auto bytes = read_file(input_path);
  std::vector<float> input(bytes.size() / 4);
  std::memcpy(input.data(), bytes.data(), bytes.size());
  for (const std::string name : {"f16", "bf16", "q4_0", "q4_K", "q6_K", "q8_0"}) {
    PUNA_SHARED(packed_path, "quant_vectors/" + name + ".bin");
    PUNA_SHARED(text_path, "quant_vectors/" + name + ".vecdot.txt");
    const auto packed = read_file(packed_path);
    const DType type = *dtype_from_name(name);
    const std::size_t bytes_per_row = row_bytes(type, n);
    std::istringstream lines(read_text(text_path));
    std::size_t r = 0;
    double ggml = 0, exact = 0;
    while (lines >> r >> ggml >> exact) {
      if (r + 1 >= input.size() / n) continue;
      Acts acts;
      acts.values.assign(input.begin() + static_cast<std::ptrdiff_t>((r + 1) * n), input.begin() + static_cast<std::ptrdiff_t>((r + 2) * n));
      acts.stride = info(type).quantized() ? n / 32 : n;
      if (info(type).quantized()) {
        acts.blocks.resize(n / 32);
        kernels_for(Isa::reference)->quantize(acts.values.data(), n, acts.blocks.data());
      }
      std::vector<float> w(n);
      const auto* row = reinterpret_cast<const std::byte*>(packed.data()) + r * bytes_per_row;
      decode_row(type, row, w.data(), n);
      double length = 0, most = 0;
      for (std::size_t i = 0; i < n; ++i) {
        length += static_cast<double>(w[i]) * w[i];
        most = std::max(most, std::fabs(static_cast<double>(acts.values[i])));
      }
      const double step = name == "bf16" ? most / 128 : name == "f16" ? most / 1024 : most / 127;
      const double bound = 6 * 1.4142 * step / std::sqrt(12.0) * std::sqrt(length);
      on_every_isa([&](const Kernels& k) {
        CAPTURE(name);
        CAPTURE(r);
        const float mine = Product{type, row, bytes_per_row, 1, n, 1, acts}.run(k)[0];
        CHECK(std::fabs(mine - ggml) <= bound);
        double own = 0;
        for (std::size_t i = 0; i < n; ++i)
          own += w[i] * (acts.blocks.empty() ? static_cast<double>(acts.values[i])
                                             : static_cast<double>(acts.blocks[i / 32].d) * acts.blocks[i / 32].q[i % 32]);
        CHECK(mine == doctest::Approx(own).epsilon(1e-4).scale(0.01));
      });
    }
    CHECK(r >= 30);
  }
}
