// Attention over pages: against double precision, against the plain loops, and the same bits whoever shares the call.
#include "cases.hpp"

using namespace puna;
using namespace puna_test;

namespace {

// A sequence's pages; a page holds keys, then values, of one layer and key head, at an odd offset.
struct Cache {
  Cache(DType t, std::uint32_t keys, std::uint32_t head_dim, std::uint32_t seed) : type(t), dim(head_dim) {
    const std::size_t size = info(type).block_bytes, tensor = page_tokens * dim * size;
    k_offset = 64, v_offset = 64 + tensor;
    const auto k = floats(std::size_t{keys} * dim, seed, 2.0f), v = floats(std::size_t{keys} * dim, seed + 1, 2.0f);
    for (std::uint32_t first = 0; first < keys; first += page_tokens) {
      // What no key fills is NaN, and the page ends where its last value ends.
      std::vector<std::byte> page(v_offset + tensor, std::byte{0xff});
      for (std::uint32_t j = first; j < keys && j < first + page_tokens; ++j)
        for (std::uint32_t i = 0; i < dim; ++i) {
          put(&page[k_offset + ((j - first) * dim + i) * size], k[j * dim + i]);
          put(&page[v_offset + ((j - first) * dim + i) * size], v[j * dim + i]);
        }
      pages.push_back(std::move(page));
    }
    for (const auto& p : pages) pointers.push_back(p.data());
  }
  void put(std::byte* to, float x) const {
    const auto half = to_half(x).bits;
    if (type == DType::f16) std::memcpy(to, &half, 2);
    else std::memcpy(to, &x, 4);
  }
  double get(std::size_t offset, std::uint32_t j, std::uint32_t i) const {
    float x;
    decode_row(type, &pages[j / page_tokens][offset + (j % page_tokens * dim + i) * info(type).block_bytes], &x, 1);
    return x;
  }
  DType type;
  std::uint32_t dim;
  std::size_t k_offset, v_offset;
  std::vector<std::vector<std::byte>> pages;
  std::vector<const std::byte*> pointers;
};

std::vector<float> attend(const Kernels& k, const Cache& cache, const float* q, std::uint32_t group, std::uint32_t keys) {
  std::vector<float> out(std::size_t{group} * cache.dim, std::nanf(""));
  std::vector<std::byte> scratch(attend_scratch(group, cache.dim) + 64, std::byte{0xff});
  AttendTile a{};
  a.q = q;
  a.out = out.data();
  a.group = group;
  a.head_dim = cache.dim;
  a.keys = keys;
  a.pages = cache.pointers.data();
  a.k_offset = cache.k_offset;
  a.v_offset = cache.v_offset;
  a.cache_type = cache.type;
  a.scale = 1.0f / std::sqrt(static_cast<float>(cache.dim));
  a.scratch = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64;
  k.attend(a);
  return out;
}

std::vector<double> exact(const Cache& c, const float* q, std::uint32_t keys) {
  std::vector<double> scores(keys), out(c.dim);
  double most = -1e300, sum = 0;
  for (std::uint32_t j = 0; j < keys; ++j) {
    for (std::uint32_t i = 0; i < c.dim; ++i) scores[j] += c.get(c.k_offset, j, i) * static_cast<double>(q[i]);
    scores[j] /= std::sqrt(static_cast<double>(c.dim));
    most = std::max(most, scores[j]);
  }
  for (double& s : scores) sum += s = std::exp(s - most);
  for (std::uint32_t j = 0; j < keys; ++j)
    for (std::uint32_t i = 0; i < c.dim; ++i) out[i] += scores[j] / sum * c.get(c.v_offset, j, i);
  return out;
}

}  // namespace

TEST_CASE("attention agrees with double precision and with the plain loops") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : {DType::f32, DType::f16})
      for (const std::uint32_t dim : {2, 6, 8, 48, 64, 80, 100, 128})
        for (const std::uint32_t keys : {1, 5, 63, 64, 65, 130, 300}) {
          CAPTURE(name_of(type));
          CAPTURE(dim);
          CAPTURE(keys);
          const std::uint32_t group = 5;
          const Cache cache(type, keys, dim, keys + dim);
          const auto q = floats(std::size_t{group} * dim, 7, 2.0f);
          const auto mine = attend(k, cache, q.data(), group, keys);
          const auto twin = attend(*kernels_for(Isa::reference), cache, q.data(), group, keys);
          double worst = 0, apart = 0;
          for (std::uint32_t g = 0; g < group; ++g) {
            const auto e = exact(cache, q.data() + std::size_t{g} * dim, keys);
            for (std::uint32_t i = 0; i < dim; ++i) {
              worst = std::max(worst, std::fabs(mine[g * dim + i] - e[i]));
              apart = std::max(apart, static_cast<double>(std::fabs(mine[g * dim + i] - twin[g * dim + i])));
            }
          }
          // Values are within +-2; a score of magnitude up to 4*sqrt(dim) carries that many roundings into a weight.
          CHECK(worst < 1e-5);
          CHECK(apart < 1e-5);
        }
  });
}

TEST_CASE("a head's attention has the same bits alone and in any group, and does not see later keys") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : {DType::f32, DType::f16})
      for (const std::uint32_t dim : {8, 48, 80, 128}) {
        const std::uint32_t most = 66, keys = 150;
        const Cache longer(type, 200, dim, 5);
        const auto q = floats(std::size_t{most} * dim, 9, 2.0f);
        std::vector<std::vector<float>> alone;
        for (std::uint32_t g = 0; g < most; ++g) alone.push_back(attend(k, longer, q.data() + std::size_t{g} * dim, 1, keys));
        for (const std::uint32_t group : {2, 3, 4, 5, 7, 8, 66}) {
          const auto all = attend(k, longer, q.data(), group, keys);
          for (std::uint32_t g = 0; g < group; ++g)
            CHECK(std::memcmp(&all[std::size_t{g} * dim], alone[g].data(), dim * sizeof(float)) == 0);
        }
      }
  });
}

TEST_CASE("attention holds where one key outweighs all, and where scores are huge") {
  on_every_isa([](const Kernels& k) {
    const std::uint32_t dim = 16, keys = 130;
    Cache cache(DType::f32, keys, dim, 3);
    const std::vector<float> q(dim, 1e4f);
    for (const std::uint32_t j : {0u, 64u, 129u})  // the maximum on the first, a middle and the last page
      for (std::uint32_t i = 0; i < dim; ++i) {
        auto* page = cache.pages[j / page_tokens].data();
        cache.put(page + cache.k_offset + (j % page_tokens * dim + i) * 4, 3.0f + static_cast<float>(j));
      }
    const auto out = attend(k, cache, q.data(), 1, keys);
    for (std::uint32_t i = 0; i < dim; ++i) CHECK(out[i] == static_cast<float>(cache.get(cache.v_offset, 129, i)));
  });
}
