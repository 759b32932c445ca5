// What does a decoded token's attention cost at depth, beside reading the same bytes of the cache?
//
//   build/dev/bench/attend_depth [DEPTH] [THREADS] [ROUNDS]      (default 4000 2 20)
//
// Layers of the 7B shape (32 heads of 128, no sharing of keys), more of them than the last cache holds. For each type of
// cache: attention over all layers and a plain read of the same keys and values by the same threads, in turn; the median
// and quartiles of the ratio, and what one layer takes. 1.10 is the limit that issue 4 sets.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "puna/base/runtime.hpp"
#include "puna/infer/cache.hpp"
#include "puna/kernels/probe.hpp"
#include "puna/nn/attention.hpp"

namespace {

using namespace puna;

double seconds(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double part(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}

struct Depth {
  Depth(DType type, std::uint32_t depth, std::uint32_t threads)
      : depth_(depth), runtime_(options(threads)), cache_(runtime_.memory, layout(type), depth, 1, depth) {
    config_.N = layers, config_.H = config_.K = 32, config_.E = 128, config_.D = 4096;
    const std::vector<std::uint32_t> counts{depth};
    cache_.reserve(counts);
    std::mt19937 gen(1);
    std::normal_distribution<float> normal;
    std::vector<float> x(16 * 128);
    for (float& v : x) v = normal(gen);
    const CacheLayout& l = cache_.layout();
    for (std::uint32_t i = 0; i < depth; ++i)
      for (std::uint32_t layer = 0; layer < layers; ++layer)
        for (std::uint32_t h = 0; h < 32; ++h)
          for (const std::size_t tensor : {l.k_offset(layer, h), l.v_offset(layer, h)})
            store_cache_row(machine_kernels(), type, cache_.pages(0)[i / page_tokens] + tensor + i % page_tokens * l.row(),
                            x.data() + (i + h) % 16 * 128, 128);
    q_.assign(x.begin(), x.end());
    q_.resize(4096, 0.1f);
    out_.resize(4096);
    scratch_ = Buffer<std::byte>(runtime_.memory, threads * stride(), "scratch");
  }
  std::size_t bytes() const { return cache_.layout().row() * 2 * 32 * layers * depth_; }
  double attend() {
    Pass pass(runtime_.tasks, runtime_.tasks.width());
    const Compute c{machine_kernels(), pass, scratch_.data(), stride(), nullptr};
    Rows o;
    o.x = out_.data(), o.columns = 4096;
    const RowPlace place{cache_.pages(0), depth_ - 1};
    return seconds([&] {
      pass.start();
      pass.resume({}, nullptr);
      for (std::uint32_t layer = 0; layer < layers; ++layer) attention(c, config_, o, q_.data(), cache_.layout(), layer, &place, 1);
    });
  }
  double read_all() {
    const CacheLayout& l = cache_.layout();
    std::vector<std::uint64_t> sums(32);
    const auto read = probe_kernels(machine_kernels().isa).read;
    return seconds([&] {
      for (std::uint32_t layer = 0; layer < layers; ++layer)
        runtime_.tasks.run(32, 0, runtime_.tasks.width(), TileFn([&](std::uint32_t h, std::uint32_t) {
          for (std::uint32_t i = 0; i < depth_; i += page_tokens) {
            const std::size_t n = std::min(page_tokens, depth_ - i) * l.row();
            const std::byte* page = cache_.pages(0)[i / page_tokens];
            sums[h] ^= read(page + l.k_offset(layer, h), n) ^ read(page + l.v_offset(layer, h), n);
          }
        }));
    });
  }
  static constexpr std::uint32_t layers = 4;

 private:
  static RuntimeOptions options(std::uint32_t threads) {
    RuntimeOptions o;
    o.threads = threads;
    return o;
  }
  static CacheLayout layout(DType type) { return {type, layers, 32, 128}; }
  static std::size_t stride() { return (attend_scratch(attend_rows, 128) + 63) / 64 * 64; }

  std::uint32_t depth_;
  Config config_;
  Runtime runtime_;
  KvCache cache_;
  std::vector<float> q_, out_;
  Buffer<std::byte> scratch_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, unsigned otherwise) { return argc > i ? static_cast<unsigned>(std::atoi(argv[i])) : otherwise; };
  const unsigned depth = number(1, 4000), threads = number(2, 2), rounds = number(3, 20);
  std::printf("%s kernels, depth %u, %u threads, %u rounds\n", std::string(machine_kernels().name).c_str(), depth, threads, rounds);
  for (const DType type : {DType::f32, DType::f16, DType::q8_0, DType::q4_0}) {
    Depth d(type, depth, threads);
    std::vector<double> attend, ratio, speed;
    for (unsigned i = 0; i <= rounds; ++i) {
      const double a = d.attend(), r = d.read_all();
      if (i == 0) continue;
      attend.push_back(a / Depth::layers * 1e3);
      ratio.push_back(a / r);
      speed.push_back(static_cast<double>(d.bytes()) / a * 1e-9);
    }
    std::printf("%-5s %7.3f ms a layer  %6.2f GB/s  %5.2fx the read (quartiles %.2f to %.2f)\n", std::string(info(type).name).c_str(),
                part(attend, 0.5), part(speed, 0.5), part(ratio, 0.5), part(ratio, 0.25), part(ratio, 0.75));
  }
}
