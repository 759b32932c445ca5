// Attention over pages: against double precision, against the plain loops, and the same bits whoever shares the call.
#include <algorithm>

#include "cases.hpp"

using namespace puna;
using namespace puna_test;

namespace {

// A sequence's pages; a page holds keys, then values, of one layer and key head, at an odd offset.
struct Cache {
  Cache(DType t, std::uint32_t keys, std::uint32_t head_dim, std::uint32_t seed) : type(t), dim(head_dim) {
    row = static_cast<std::size_t>(row_bytes(type, dim));
    const std::size_t tensor = page_tokens * row;
    k_offset = 64, v_offset = 64 + tensor;
    const auto k = floats(std::size_t{keys} * dim, seed, 2.0f), v = floats(std::size_t{keys} * dim, seed + 1, 2.0f);
    for (std::uint32_t first = 0; first < keys; first += page_tokens) {
      // What no key fills is NaN, and the page ends where its last value ends.
      std::vector<std::byte> page(v_offset + tensor, std::byte{0xff});
      for (std::uint32_t j = first; j < keys && j < first + page_tokens; ++j) {
        put(&page[k_offset + (j - first) * row], &k[std::size_t{j} * dim]);
        put(&page[v_offset + (j - first) * row], &v[std::size_t{j} * dim]);
      }
      pages.push_back(std::move(page));
    }
    for (const auto& p : pages) pointers.push_back(p.data());
  }
  void put(std::byte* to, const float* x) const { encode_row(type, x, to, dim); }
  std::vector<float> get(std::size_t offset, std::uint32_t j) const {
    std::vector<float> x(dim);
    decode_row(type, &pages[j / page_tokens][offset + j % page_tokens * row], x.data(), dim);
    return x;
  }
  DType type;
  std::uint32_t dim;
  std::size_t row, k_offset, v_offset;
  std::vector<std::vector<std::byte>> pages;
  std::vector<const std::byte*> pointers;
};

// Queries [tokens][group][dim], of tokens at consecutive positions; the first sees `keys` keys. Rows stand `gap` floats apart.
std::vector<float> attend(const Kernels& k, const Cache& cache, const float* q, std::uint32_t group, std::uint32_t keys,
                          std::uint32_t tokens = 1, std::size_t gap = 0) {
  const std::size_t width = std::size_t{group} * cache.dim, stride = width + gap;
  std::vector<float> spread(tokens * stride, std::nanf("")), out(tokens * stride, std::nanf("")), packed;
  for (std::uint32_t t = 0; t < tokens; ++t) std::copy_n(q + t * width, width, &spread[t * stride]);
  std::vector<std::byte> scratch(attend_scratch(tokens * group, cache.dim) + 64, std::byte{0xff});
  AttendTile a{};
  a.q = spread.data();
  a.out = out.data();
  a.stride = stride;
  a.tokens = tokens;
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
  for (std::uint32_t t = 0; t < tokens; ++t) {
    packed.insert(packed.end(), &out[t * stride], &out[t * stride] + width);
    for (std::size_t i = width; i < stride; ++i) CHECK(std::isnan(out[t * stride + i]));  // what is between is not touched
  }
  return packed;
}

std::vector<double> exact(const Cache& c, const float* q, std::uint32_t keys) {
  std::vector<double> scores(keys), out(c.dim);
  double most = -1e300, sum = 0;
  for (std::uint32_t j = 0; j < keys; ++j) {
    const auto key = c.get(c.k_offset, j);
    for (std::uint32_t i = 0; i < c.dim; ++i) scores[j] += key[i] * static_cast<double>(q[i]);
    scores[j] /= std::sqrt(static_cast<double>(c.dim));
    most = std::max(most, scores[j]);
  }
  for (double& s : scores) sum += s = std::exp(s - most);
  for (std::uint32_t j = 0; j < keys; ++j) {
    const auto value = c.get(c.v_offset, j);
    for (std::uint32_t i = 0; i < c.dim; ++i) out[i] += scores[j] / sum * static_cast<double>(value[i]);
  }
  return out;
}

const DType cache_types[] = {DType::f32, DType::f16, DType::q8_0, DType::q4_0};
bool fits(DType type, std::uint32_t dim) { return dim % info(type).block == 0; }

}  // namespace

TEST_CASE("attention agrees with double precision and with the plain loops") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : cache_types)
      for (const std::uint32_t dim : {2, 6, 8, 32, 48, 64, 80, 96, 100, 128, 160})
        for (const std::uint32_t keys : {1, 5, 63, 64, 65, 130, 300}) {
          if (!fits(type, dim)) continue;
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
          CHECK(worst < (info(type).quantized() ? 1e-4 : 1e-5));  // with blocks the query has 16 bits
          CHECK(apart < 1e-5);
        }
  });
}

TEST_CASE("a head's attention has the same bits alone and in any group, and does not see later keys") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : cache_types)
      for (const std::uint32_t dim : {8, 32, 48, 80, 96, 128}) {
        if (!fits(type, dim)) continue;
        CAPTURE(name_of(type));
        CAPTURE(dim);
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

TEST_CASE("attention has the same bits for a token alone and in any run of tokens, across the ends of pages") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : cache_types)
      for (const std::uint32_t dim : {6, 32, 80, 128})
        for (const std::uint32_t group : {1, 3, 8}) {
          if (!fits(type, dim)) continue;
          const std::uint32_t most = 70;
          const auto q = floats(std::size_t{most} * group * dim, 9, 2.0f);
          for (const std::uint32_t first : {1, 60, 64, 65, 120}) {
            CAPTURE(name_of(type));
            CAPTURE(dim);
            CAPTURE(group);
            CAPTURE(first);
            const Cache cache(type, first + most - 1, dim, 5);
            std::vector<std::vector<float>> alone;
            const std::size_t width = std::size_t{group} * dim;
            for (std::uint32_t t = 0; t < most; ++t) alone.push_back(attend(k, cache, q.data() + t * width, group, first + t));
            for (const std::uint32_t tokens : {2, 3, 5, 8, 70}) {
              const auto all = attend(k, cache, q.data(), group, first, tokens, 5);
              std::uint32_t differ = 0;
              for (std::uint32_t t = 0; t < tokens; ++t)
                differ += std::memcmp(&all[t * width], alone[t].data(), width * sizeof(float)) != 0;
              CHECK(differ == 0);
            }
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
      cache.put(cache.pages[j / page_tokens].data() + cache.k_offset + j % page_tokens * cache.row,
                std::vector<float>(dim, 3.0f + static_cast<float>(j)).data());
    const auto out = attend(k, cache, q.data(), 1, keys);
    for (std::uint32_t i = 0; i < dim; ++i) CHECK(out[i] == cache.get(cache.v_offset, 129)[i]);
  });
}
