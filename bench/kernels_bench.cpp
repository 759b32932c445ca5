// How fast is each kernel on each path? Products per type, packed and as stored, for 1, 4, 32 and 512 tokens (bytes
// and multiply-adds a second), attention, and the small ones. Google Benchmark's own flags choose and repeat, for example
//   kernels_bench --benchmark_filter='avx2/tokens1_packed' --benchmark_repetitions=5
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "puna/kernels/table.hpp"
#include "puna/tensor/dtype.hpp"

namespace {

using namespace puna;

constexpr DType types[] = {DType::f32,  DType::f16,  DType::bf16, DType::q4_0, DType::q4_1,   DType::q5_0,   DType::q5_1, DType::q8_0,
                           DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::q8_f32};

struct Aligned {  // zeroed, on 64 bytes
  explicit Aligned(std::size_t bytes) : store(bytes + 64) {}
  std::byte* data() { return store.data() + (64 - reinterpret_cast<std::uintptr_t>(store.data()) % 64) % 64; }
  std::vector<std::byte> store;
};

// Random codes; small floats where the type is a float. Speed does not depend on the scales, but must not meet subnormals.
std::vector<std::byte> random_rows(DType type, std::size_t bytes) {
  std::mt19937 rng(1);
  std::vector<std::byte> out(bytes);
  for (auto& b : out) b = static_cast<std::byte>(rng() >> 9);
  if (type == DType::f32)
    for (std::size_t i = 3; i < bytes; i += 4) out[i] = std::byte{0x3c};
  if (type == DType::f16 || type == DType::bf16)
    for (std::size_t i = 1; i < bytes; i += 2) out[i] = std::byte{0x3c};
  return out;
}

void product(benchmark::State& state, const Kernels* k, DType type, std::uint32_t rows, std::uint32_t columns, std::uint32_t tokens,
             bool packed) {
  const std::size_t stride = row_bytes(type, columns);
  const auto weights = random_rows(type, rows * stride);
  std::vector<float> x(std::size_t{tokens} * columns, 0.5f), y(std::size_t{tokens} * rows);
  std::vector<ActBlock> blocks(std::size_t{tokens} * columns / 32);
  k->quantize(x.data(), x.size(), blocks.data());
  Aligned scratch(matmul_scratch(columns));
  const bool quantized = info(type).quantized();
  MatmulTile tile{type, weights.data(), stride, 0, columns, quantized ? static_cast<const void*>(blocks.data()) : x.data(),
                  quantized ? columns / 32 : columns, tokens, y.data(), rows, scratch.data()};
  if (packed) tile.pack = k->pack_rows;  // random codes are as good in any order; 64 is a multiple of every group
  const std::size_t act_bytes = quantized ? sizeof(ActBlock) : sizeof(float);
  for (auto _ : state) {
    for (std::uint32_t r = 0; r < rows; r += 64) {  // as the pass cuts it
      tile.weights = weights.data() + r * stride;
      tile.rows = rows - r < 64 ? rows - r : 64;
      for (std::uint32_t t = 0; t < tokens; t += 32) {
        tile.acts = static_cast<const std::byte*>(quantized ? static_cast<const void*>(blocks.data()) : x.data()) + t * tile.act_stride * act_bytes;
        tile.tokens = tokens - t < 32 ? tokens - t : 32;
        tile.y = y.data() + std::size_t{t} * rows + r;
        k->matmul(tile);
      }
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(rows * stride));
  state.counters["GMAC"] = benchmark::Counter(1e-9 * rows * columns * tokens * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void attention(benchmark::State& state, const Kernels* k, DType type, std::uint32_t group, std::uint32_t keys) {
  const std::uint32_t dim = 128;
  const std::size_t tensor = page_tokens * static_cast<std::size_t>(row_bytes(type, dim));
  const auto page = random_rows(type, 2 * tensor);
  const std::vector<const std::byte*> pages((keys + page_tokens - 1) / page_tokens, page.data());
  std::vector<float> q(std::size_t{group} * dim, 0.01f), out(q.size());
  Aligned scratch(attend_scratch(group, dim));
  const AttendTile tile{q.data(), out.data(), q.size(), 1, group, dim, keys, pages.data(), 0, tensor, type, 0.088f, scratch.data()};
  for (auto _ : state) {
    k->attend(tile);
    benchmark::ClobberMemory();
  }
  state.counters["GMAC"] = benchmark::Counter(2e-9 * dim * keys * group * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

template <class F>
void vector_kernel(benchmark::State& state, const F& f) {
  const std::size_t n = 4096;
  std::vector<float> a(n, 0.7f), b(n, -0.3f), c(n);
  std::vector<ActBlock> blocks(n / 32);
  for (auto _ : state) {
    f(a.data(), b.data(), c.data(), blocks.data(), n);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(n));
}

void register_path(const Kernels* k) {
  const std::string name(k->name);
  const auto add = [&](const std::string& what, auto f) { benchmark::RegisterBenchmark((name + what).c_str(), f); };
  for (const DType type : types) {
    const std::string t(info(type).name);
    for (const bool packed : {false, true}) {
      if (packed && (!k->pack_rows || !info(type).quantized())) continue;
      const std::string how = (packed ? "_packed/" : "/") + t;
      add("/tokens1" + how, [=](benchmark::State& s) { product(s, k, type, 4096, 4096, 1, packed); });
      for (const std::uint32_t tokens : {4u, 32u, 512u})
        add("/tokens" + std::to_string(tokens) + how, [=](benchmark::State& s) { product(s, k, type, 512, 2048, tokens, packed); });
    }
  }
  for (const DType type : {DType::f32, DType::f16, DType::q8_0, DType::q4_0})
    for (const std::uint32_t group : {1, 4, 8})
      add("/attend/" + std::string(info(type).name) + "/group" + std::to_string(group),
          [=](benchmark::State& s) { attention(s, k, type, group, 2048); });
  add("/quantize", [=](benchmark::State& s) { vector_kernel(s, [=](float* a, float*, float*, ActBlock* o, std::size_t n) { k->quantize(a, n, o); }); });
  add("/rms_norm", [=](benchmark::State& s) { vector_kernel(s, [=](float* a, float* b, float* c, ActBlock*, std::size_t n) { k->rms_norm(c, a, b, n, 1e-5f); }); });
  add("/swiglu", [=](benchmark::State& s) { vector_kernel(s, [=](float* a, float* b, float* c, ActBlock*, std::size_t n) { k->swiglu(c, a, b, n); }); });
}

}  // namespace

int main(int argc, char** argv) {
  for (const Isa isa : available_isas()) register_path(kernels_for(isa));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
