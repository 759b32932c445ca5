// The cache's block types: what a row keeps of its numbers, what that costs the demo model, and pages shared by forks.
#include <cmath>
#include <numeric>
#include <random>

#include "model_support.hpp"
#include "puna/eval/nll.hpp"
#include "puna/infer/synthetic.hpp"
#include "puna/kernels/table.hpp"
#include "puna/nn/cache_row.hpp"
#include "puna/nn/hadamard.hpp"
#include "puna/tensor/codec.hpp"

using namespace puna_test;
using puna::DType;

namespace {

std::vector<float> stored(DType type, const std::vector<float>& x) {
  const auto E = static_cast<std::uint32_t>(x.size());
  std::vector<std::byte> row(static_cast<std::size_t>(puna::row_bytes(type, E)) + 1, std::byte{0x5a});
  puna::store_cache_row(puna::machine_kernels(), type, row.data(), x.data(), E);
  CHECK(row.back() == std::byte{0x5a});
  std::vector<float> back(x.size());
  puna::decode_row(type, row.data(), back.data(), x.size());
  return back;
}

// Of each token of the text after the first, in windows of the model's context, each begun anew.
double mean_nll(const std::shared_ptr<const puna::Model>& model, const std::vector<std::int32_t>& ids, DType cache) {
  const std::size_t window = model->config().context, V = model->config().V;
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t at = 0; at + 1 < ids.size(); at += window) {
    const std::vector<std::int32_t> part(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                         ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + window)));
    const auto logits = run_logits(model, part, 128, cache);
    for (std::size_t i = 0; i + 1 < part.size(); ++i, ++count)
      sum += puna::log_softmax_nll(std::span(logits).subspan(i * V, V), part[i + 1]);
  }
  return sum / static_cast<double>(count);
}

std::shared_ptr<const puna::Model> synthetic(const char* spec) {
  puna::ModelLoader loader(make_runtime(2), nullptr, [spec] { return puna::synthetic_weights(spec); }, {});
  while (!loader.step({}, nullptr)) {
  }
  return loader.take();
}

}  // namespace

TEST_CASE("a row of the cache keeps its numbers within half a step of its blocks") {
  std::mt19937 gen(4);
  std::normal_distribution<float> normal;
  for (const std::uint32_t E : {32, 64, 128, 320}) {
    std::vector<float> x(E);
    for (float& v : x) v = normal(gen);
    CHECK(stored(DType::f32, x) == x);
    const auto q8 = stored(DType::q8_0, x), q4 = stored(DType::q4_0, x);
    for (std::uint32_t b = 0; b < E; b += 32) {
      float most = 0;
      for (std::uint32_t i = b; i < b + 32; ++i) most = std::max(most, std::fabs(x[i]));
      for (std::uint32_t i = b; i < b + 32; ++i) {
        CHECK(std::fabs(q8[i] - x[i]) <= most / 127 * 0.51f + most * 0x1p-11f);
        CHECK(std::fabs(q4[i] - x[i]) <= most / 8 * 1.1f);  // the highest code is 7, not 8
      }
    }
  }
}

TEST_CASE("a row of the cache with zeros, subnormals, infinities or NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const DType type : {DType::q8_0, DType::q4_0}) {
    CHECK(stored(type, std::vector<float>(64, 0.0f)) == std::vector<float>(64, 0.0f));
    for (const float v : stored(type, std::vector<float>(32, 1e-42f))) CHECK(std::fabs(v) <= 1e-41f);
    for (const float bad : {infinity, -infinity, std::nanf("")}) {
      std::vector<float> x(64, 1.0f);
      x[3] = bad;
      const auto back = stored(type, x);
      CHECK(std::isnan(back[0]));
      CHECK(back[40] == doctest::Approx(1.0f).epsilon(0.01));  // the next block is its own
    }
  }
}

TEST_CASE("the Hadamard transform keeps products and is its own inverse") {
  std::mt19937 gen(5);
  std::normal_distribution<float> normal;
  for (const std::uint32_t E : {32, 64, 96, 128, 160}) {
    std::vector<float> a(E), b(E);
    for (std::uint32_t i = 0; i < E; ++i) a[i] = normal(gen), b[i] = normal(gen);
    auto ta = a, tb = b;
    puna::hadamard(ta.data(), E), puna::hadamard(tb.data(), E);
    CHECK(std::inner_product(a.begin(), a.end(), b.begin(), 0.0) ==
          doctest::Approx(std::inner_product(ta.begin(), ta.end(), tb.begin(), 0.0)).epsilon(1e-4));
    puna::hadamard(ta.data(), E);
    CHECK(max_difference(ta, a) < 1e-5f);
  }
}

TEST_CASE("the demo model's NLL: under 0.1% more with a q8_0 cache, under 1% with a q4_0 one") {
  const auto model = load_model(fixture("tiny/model.gguf"), make_runtime(2));
  const auto ids = model->tokenizer()->encode(read_text(fixture("outsiders/text.txt")));
  REQUIRE(ids.size() > 1000);
  const double exact = mean_nll(model, ids, DType::f32);
  for (const auto& [type, limit] : {std::pair(DType::f16, 0.0005), {DType::q8_0, 0.001}, {DType::q4_0, 0.01}}) {
    const double change = mean_nll(model, ids, type) / exact - 1;
    MESSAGE(std::string(puna::info(type).name) << ": " << 100 * change << "% over " << ids.size() << " tokens, from " << exact);
    CHECK(std::fabs(change) < limit);
  }
}

TEST_CASE("heads that no block of 32 divides fall back to f16, and the log says so") {
  struct Lines {
    std::vector<std::string> text;
    static void add(void* user, std::int32_t level, const char* text, std::size_t n) {
      CHECK(level == static_cast<std::int32_t>(puna::LogLevel::warning));
      static_cast<Lines*>(user)->text.emplace_back(text, n);
    }
  } lines;
  puna::RuntimeOptions runtime;
  runtime.threads = 1;
  runtime.log = puna::Log(&lines, Lines::add);
  const auto model = load_model(fixture("gguf/q8_0.gguf"), std::make_shared<puna::Runtime>(runtime));  // heads of 16
  std::vector<std::int32_t> ids(20, 5);
  const auto f16 = run_logits(model, ids, 8, DType::f16);
  CHECK(lines.text.empty());
  CHECK(run_logits(model, ids, 8, DType::q8_0) == f16);
  REQUIRE(lines.text.size() == 1);
  CHECK(lines.text[0].find("q8_0") != std::string::npos);
  CHECK(lines.text[0].find("16") != std::string::npos);
  CHECK(run_logits(model, ids, 8, DType::q4_0) == f16);
  CHECK(lines.text.size() == 2);
  puna::SessionOptions options;
  options.cache_type = DType::q4_0;
  CHECK(puna::Session(model, options).options().cache_type == DType::f16);
}

TEST_CASE("a shared page is copied in tiles, in any order, or shared again when the feed ends early") {
  puna::Memory memory;
  const puna::CacheLayout layout{DType::f32, 4, 8, 64};  // pages of 1 MiB
  puna::KvCache cache(memory, layout, 128, 3, 256);
  const auto reserve = [&](std::uint32_t a, std::uint32_t b, std::uint32_t c) { cache.reserve(std::vector<std::uint32_t>{a, b, c}); };
  reserve(10, 0, 0);
  CHECK(cache.copying() == 0);
  std::byte* const first = cache.pages(0)[0];
  for (std::size_t i = 0; i < layout.page_bytes(); ++i) first[i] = static_cast<std::byte>(i * 7 % 251);
  for (std::int32_t i = 0; i < 10; ++i) cache.append(0, i);
  cache.fork(0, 1), cache.fork(0, 2);
  for (int attempt = 0; attempt < 8; ++attempt) {  // what is not taken back would use up the pages
    reserve(0, 5, 70);
    CHECK(cache.copying() > 2 * 3);
    CHECK(cache.pages(1)[0] != first);
    cache.copy(1);
    cache.unreserve();
    CHECK(cache.copying() == 0);
    CHECK(cache.pages(1)[0] == first);
    CHECK(cache.pages(2)[0] == first);
    CHECK(cache.length(2) == 10);
  }
  reserve(0, 5, 70);
  for (std::uint32_t tile = cache.copying(); tile-- > 0;) cache.copy(tile);
  cache.copied();
  for (const std::uint32_t s : {1u, 2u}) {
    CHECK(cache.pages(s)[0] != first);
    CHECK(std::memcmp(cache.pages(s)[0], first, layout.page_bytes()) == 0);
  }
  reserve(1, 0, 0);  // now its own
  CHECK(cache.copying() == 0);
  CHECK(cache.pages(0)[0] == first);
}

TEST_CASE("a feed that is cancelled while it copies a page leaves the sequence as it was") {
  const auto model = synthetic("15m:q8_0");
  puna::SessionOptions options;
  options.context = 100;
  options.sequences = 2;
  options.threads = 1;  // two workers would finish both tiles of the page at once
  const std::vector<std::int32_t> ids = {5, 9, 100, 77, 3, 12, 900, 41};
  const auto feed = [&](std::uint32_t sequence, std::size_t from, std::size_t to) {
    puna::FeedInput in;
    in.ids = std::span(ids).subspan(from, to - from);
    in.count = static_cast<std::uint32_t>(to - from);
    return std::pair(in, std::vector<std::uint32_t>(to - from, sequence));
  };
  const auto run = [&](bool cancelled) {
    puna::Session session(model, options);
    auto [in, sequences] = feed(0, 0, 5);
    in.sequences = sequences;
    session.feed(in);
    session.fork(0, 1);
    std::tie(in, sequences) = feed(1, 5, 8);
    in.sequences = sequences;
    if (cancelled) {
      session.begin_feed(in);
      CHECK_FALSE(session.step_feed(puna::Deadline::after(0), nullptr));
      CHECK(session.cache().copying() > 0);
      CHECK(session.fed() == 0);
      puna::CancelToken cancel;
      cancel.trip();
      CHECK_THROWS_AS(session.step_feed({}, &cancel), puna::Error);
      CHECK(session.length(1) == 5);
    }
    session.feed(in);
    const auto row = session.logits(2);
    return std::vector<float>(row.begin(), row.end());
  };
  CHECK(run(true) == run(false));
}
