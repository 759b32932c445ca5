// The products: every type on every path that this machine has, against the plain loops and against double precision;
// and promise 5, the same bits whatever the tile.
#include "cases.hpp"
#include "puna/tensor/pack.hpp"

using namespace puna;
using namespace puna_test;

namespace {

std::vector<std::byte> packed_rows(DType type, const std::vector<std::byte>& weights, std::size_t rows, std::size_t columns,
                                   std::uint32_t R) {
  const std::size_t bytes = row_bytes(type, columns);
  std::vector<std::byte> out(static_cast<std::size_t>(packed_bytes(type, rows, columns, R)));
  for (std::size_t r = 0; r < rows; r += R)
    pack_group(type, &weights[r * bytes], bytes, static_cast<std::uint32_t>(std::min<std::size_t>(R, rows - r)), columns, R,
               &out[r * bytes]);
  return out;
}

// Not a whole number of runs, nor of vectors where a type allows it.
std::size_t columns_for(DType type) { return info(type).block == 256 ? 1280 : info(type).block == 32 ? 1184 : 1187; }

// Row times token in double, of the numbers that the kernel is given: decoded weights, dequantised activations.
struct Exact {
  double value = 0;
  double magnitude = 0;  // the sum of |products|, what rounding errors grow with
};
Exact exact_dot(DType type, const std::byte* row, const Acts& acts, std::size_t token, std::size_t columns) {
  std::vector<float> w(columns);
  decode_row(type, row, w.data(), columns);
  Exact out;
  for (std::size_t i = 0; i < columns; ++i) {
    double x = acts.values[token * columns + i];
    if (info(type).quantized()) {
      const ActBlock& b = acts.blocks[token * acts.stride + i / 32];
      x = static_cast<double>(b.d) * b.q[i % 32];
    }
    out.value += static_cast<double>(w[i]) * x;
    out.magnitude += std::fabs(static_cast<double>(w[i]) * x);
  }
  return out;
}

// Of the sum of |products|. A chain of n roundings, each at most 2^-24 of the sum so far, cannot be off by more than
// n * 2^-24, and is off by about sqrt(n) * 2^-24 where they are random: 40 to 300 here. Types with minimums can add two
// large terms for one small decoded weight, which the sum of |products| does not see.
constexpr double relative_bound = 5 * 0x1p-24;

}  // namespace

TEST_CASE("matmul agrees with double precision") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      const std::size_t rows = 19, tokens = 5, columns = columns_for(type);
      const auto weights = random_rows(type, rows, columns, 11);
      const Acts acts = make_acts(type, tokens, columns, 12);
      const auto y = Product{type, weights.data(), row_bytes(type, columns), rows, columns, tokens, acts}.run(k);
      double worst = 0;
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t r = 0; r < rows; ++r) {
          const Exact e = exact_dot(type, weights.data() + r * row_bytes(type, columns), acts, t, columns);
          worst = std::max(worst, std::fabs(y[t * rows + r] - e.value) / e.magnitude);
        }
      CHECK(worst <= relative_bound);
    }
  });
}

TEST_CASE("matmul of quantized types equals the plain loops, bit for bit where products are fused") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      const std::size_t rows = 21, tokens = 7, columns = columns_for(type);
      const auto weights = random_rows(type, rows, columns, 21);
      const Acts acts = make_acts(type, tokens, columns, 22);
      const Product p{type, weights.data(), row_bytes(type, columns), rows, columns, tokens, acts};
      const auto mine = p.run(k), twin = p.run(*kernels_for(Isa::reference));
      if (info(type).quantized() && fuses(k.isa)) {
        CHECK(std::memcmp(mine.data(), twin.data(), mine.size() * sizeof(float)) == 0);
      } else {
        for (std::size_t i = 0; i < mine.size(); ++i) {
          const auto* row = weights.data() + i % rows * row_bytes(type, columns);
          CHECK(std::fabs(mine[i] - twin[i]) <= 2 * relative_bound * exact_dot(type, row, acts, i / rows, columns).magnitude);
        }
      }
    }
  });
}

TEST_CASE("matmul's integer part is exact on every path") {
  // Scales of 1 and whole activations: each result is an integer below 2^24 (scale fields inside superblocks are whole
  // too), so every path must give the very same floats whether or not it fuses.
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      const std::size_t rows = 16, tokens = 6, columns = 256;
      const auto weights = random_rows(type, rows, columns, 31, true);
      Acts acts = make_acts(type, tokens, columns, 32);
      std::mt19937 rng(33);
      for (float& x : acts.values) x = static_cast<float>(static_cast<int>(rng() % 9) - 4);
      for (std::size_t b = 0; b < acts.blocks.size(); ++b) {
        ActBlock& a = acts.blocks[b];
        int sums[2] = {0, 0};
        // Super types multiply by scales of up to 128: keep their sums below 2^24, and reach the extremes with the others.
        const int reach = info(type).block == 256 ? 4 : 127;
        for (int i = 0; i < 32; ++i) {
          a.q[i] = static_cast<std::int8_t>(b % 3 == 0 ? (b % 2 ? -reach : reach) : static_cast<int>(rng() % (2u * reach + 1)) - reach);
          sums[i / 16] += a.q[i];
        }
        a.d = 1;
        a.qsum_lo = static_cast<std::int16_t>(sums[0]), a.qsum_hi = static_cast<std::int16_t>(sums[1]);
        a.sum_lo = static_cast<float>(sums[0]), a.sum_hi = static_cast<float>(sums[1]);
      }
      const auto y = Product{type, weights.data(), row_bytes(type, columns), rows, columns, tokens, acts}.run(k);
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t r = 0; r < rows; ++r) {
          const Exact e = exact_dot(type, weights.data() + r * row_bytes(type, columns), acts, t, columns);
          REQUIRE(e.magnitude < 0x1p24);
          CHECK(y[t * rows + r] == static_cast<float>(e.value));
        }
    }
  });
}

TEST_CASE("matmul takes the extreme codes and activations") {
  // Every code at its largest, every activation at +-127: where sums of 16 bits would saturate first.
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      if (!info(type).quantized()) continue;
      for (const int pattern : {0x00, 0xff, 0x80, 0x7f, 0xf0, 0x0f}) {
        CAPTURE(name_of(type));
        CAPTURE(pattern);
        const std::size_t rows = 8, tokens = 4, columns = 256;
        auto weights = random_rows(type, rows, columns, 41, true);
        const auto halves = half_places(type);
        for (std::size_t i = 0; i < weights.size(); ++i) {
          const int in_block = static_cast<int>(i % info(type).block_bytes);
          const bool scale = (halves.d >= 0 && (in_block == halves.d || in_block == halves.d + 1)) ||
                             (halves.m >= 0 && (in_block == halves.m || in_block == halves.m + 1)) ||
                             (type == DType::q8_f32 && in_block < 4);
          if (!scale) weights[i] = static_cast<std::byte>(pattern);
        }
        Acts acts = make_acts(type, tokens, columns, 42);
        for (std::size_t b = 0; b < acts.blocks.size(); ++b) {
          ActBlock& a = acts.blocks[b];
          const int q = b / acts.stride % 2 ? 127 : -127;
          for (auto& x : a.q) x = static_cast<std::int8_t>(q);
          a.d = 0x1p-7f;
          a.qsum_lo = a.qsum_hi = static_cast<std::int16_t>(16 * q);
          a.sum_lo = a.sum_hi = a.d * static_cast<float>(16 * q);
        }
        const Product p{type, weights.data(), row_bytes(type, columns), rows, columns, tokens, acts};
        const auto mine = p.run(k), twin = p.run(*kernels_for(Isa::reference));
        for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i] == doctest::Approx(twin[i]).epsilon(1e-6));
      }
    }
  });
}

TEST_CASE("matmul shows a scale that is no number in its own row alone, and takes subnormal ones") {
  // Halves: infinities, quiet and signalling NaNs, the smallest and the largest subnormal.
  constexpr std::uint16_t odd[] = {0x7c00, 0xfc00, 0x7e00, 0x7d01, 0xfe00, 0x0001, 0x03ff, 0x8001};
  constexpr std::size_t no_numbers = 5, rows = std::size(odd) + 1, tokens = 4;  // the last row stays ordinary
  on_every_isa([&](const Kernels& k) {
    for (const DType type : all_types) {
      if (half_places(type).d < 0) continue;
      CAPTURE(name_of(type));
      const std::size_t columns = columns_for(type), bytes = row_bytes(type, columns), block = info(type).block_bytes;
      auto weights = random_rows(type, rows, columns, 31);
      const Acts acts = make_acts(type, tokens, columns, 32);
      const Product p{type, weights.data(), bytes, rows, columns, tokens, acts};
      const auto ordinary = p.run(k);
      for (const int place : {half_places(type).d, half_places(type).m})
        for (std::size_t r = 0; r + 1 < rows && place >= 0; ++r)
          std::memcpy(&weights[r * bytes + r % 3 * block + static_cast<std::size_t>(place)], &odd[r], 2);
      const auto mine = p.run(k), twin = p.run(*kernels_for(Isa::reference));
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t r = 0; r < rows; ++r) {
          CAPTURE(r);
          const float y = mine[t * rows + r], other = twin[t * rows + r];
          CHECK(std::isfinite(y) == (r >= no_numbers));
          CHECK(std::isfinite(other) == (r >= no_numbers));
          if (r >= no_numbers && fuses(k.isa)) CHECK(y == other);
          if (r + 1 == rows) CHECK(y == ordinary[t * rows + r]);
        }
    }
  });
}

TEST_CASE("matmul gives the same bits whatever the tile") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      // Row lengths with and without a padded end, for f32 types; one and several runs for block types.
      const std::vector<std::size_t> lengths = info(type).block == 256  ? std::vector<std::size_t>{256, 1280}
                                               : info(type).block == 32 ? std::vector<std::size_t>{32, 1056}
                                                                        : std::vector<std::size_t>{3, 64, 172};
      for (const std::size_t columns : lengths) {
        const std::size_t most_rows = 35, most_tokens = 13, stride = row_bytes(type, columns);
        const auto weights = random_rows(type, most_rows, columns, 51);
        const Acts acts = make_acts(type, most_tokens, columns, 52);
        std::vector<float> single(most_rows * most_tokens);
        for (std::size_t t = 0; t < most_tokens; ++t)
          for (std::size_t r = 0; r < most_rows; ++r)
            Product{type, weights.data() + r * stride, stride, 1, columns, 1, acts, t}.run(k, &single[t * most_rows + r], 1);
        const auto same = [&](std::size_t rows, std::size_t tokens) {
          const auto y = Product{type, weights.data(), stride, rows, columns, tokens, acts}.run(k);
          for (std::size_t t = 0; t < tokens; ++t)
            if (std::memcmp(&y[t * rows], &single[t * most_rows], rows * sizeof(float)) != 0) return false;
          return true;
        };
        for (std::size_t tokens = 1; tokens <= 9; ++tokens)
          for (std::size_t rows = 1; rows <= 9; ++rows) CHECK_MESSAGE(same(rows, tokens), columns << " " << rows << "x" << tokens);
        for (const std::size_t rows : {15, 16, 17, 32, 35}) CHECK(same(rows, 1));
        CHECK(same(35, 13));
      }
    }
  });
}

TEST_CASE("matmul takes weights at any address and writes only its outputs") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      CAPTURE(name_of(type));
      const std::size_t rows = 5, columns = info(type).block == 256 ? 512 : info(type).block == 32 ? 96 : 77;
      const std::size_t bytes = row_bytes(type, columns);
      const auto weights = random_rows(type, rows, columns, 61);
      const Acts acts = make_acts(type, 5, columns, 62);
      for (const std::size_t tokens : {1, 5}) {
        const auto expected = Product{type, weights.data(), bytes, rows, columns, tokens, acts}.run(k);
        for (const std::size_t shift : {1, 2, 4}) {
          // Exactly as long as the rows, on the heap: a sanitizer sees a read beyond them.
          std::vector<std::byte> moved(shift + rows * (bytes + shift) - shift);
          for (std::size_t r = 0; r < rows; ++r) std::memcpy(&moved[shift + r * (bytes + shift)], &weights[r * bytes], bytes);
          std::vector<float> y(tokens * (rows + 3), -7.0f);
          Product{type, moved.data() + shift, bytes + shift, rows, columns, tokens, acts}.run(k, y.data(), rows + 3);
          for (std::size_t t = 0; t < tokens; ++t) {
            CHECK(std::memcmp(&y[t * (rows + 3)], &expected[t * rows], rows * sizeof(float)) == 0);
            for (std::size_t i = rows; i < rows + 3; ++i) CHECK(y[t * (rows + 3) + i] == -7.0f);
          }
        }
      }
    }
  });
}

TEST_CASE("packed rows decode to the rows that they were, block for block") {
  for (const DType type : all_types) {
    if (!info(type).quantized()) continue;
    CAPTURE(name_of(type));
    const std::size_t rows = 21, columns = info(type).block == 256 ? 768 : 96, bytes = row_bytes(type, columns);
    const auto weights = random_rows(type, rows, columns, 71);
    for (const std::uint32_t R : {4u, 8u, 16u}) {
      const auto packed = packed_rows(type, weights, rows, columns, R);
      const Matrix m{type, packed.data(), static_cast<std::uint32_t>(rows), static_cast<std::uint32_t>(columns), bytes, R};
      for (std::size_t r = 0; r < rows; ++r) {
        std::vector<std::byte> back(bytes);
        for (std::size_t b = 0; b < columns / info(type).block; ++b)
          unpack_block(type, m.row(r / R * R), R, static_cast<std::uint32_t>(r % R), b, &back[b * info(type).block_bytes]);
        CHECK(std::memcmp(back.data(), &weights[r * bytes], bytes) == 0);
        std::vector<float> is(columns), was(columns);
        decode_matrix_row(m, r, is.data());
        decode_row(type, &weights[r * bytes], was.data(), columns);
        CHECK(std::memcmp(is.data(), was.data(), columns * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("matmul gives the same bits from packed rows as from stored ones") {
  on_every_isa([](const Kernels& k) {
    for (const DType type : all_types) {
      if (!info(type).quantized()) continue;
      CAPTURE(name_of(type));
      for (const std::size_t columns : {info(type).block == 256 ? std::size_t{256} : 32, std::size_t{1280}}) {
        const std::size_t most = 37, bytes = row_bytes(type, columns);
        const auto weights = random_rows(type, most, columns, 81);
        const auto packed = packed_rows(type, weights, most, columns, k.pack_rows);
        const Acts acts = make_acts(type, 14, columns, 82);
        for (const std::size_t rows : {1, 4, 7, 8, 9, 16, 17, 32, 33, 37})
          for (const std::size_t tokens : {1, 2, 3, 4, 5, 6, 7, 14}) {
            const auto stored = Product{type, weights.data(), bytes, rows, columns, tokens, acts}.run(k);
            const auto mine = Product{type, packed.data(), bytes, rows, columns, tokens, acts, 0, k.pack_rows}.run(k);
            CHECK_MESSAGE(std::memcmp(stored.data(), mine.data(), stored.size() * sizeof(float)) == 0,
                          columns << " " << rows << "x" << tokens);
          }
      }
    }
  });
}

TEST_CASE("which paths this run covered") {
  std::string names;
  for (const Isa isa : available_isas()) names += " " + std::string(isa_name(isa));
  MESSAGE("kernel paths covered here:" << names << "; the machine's own: " << machine_kernels().name);
}
