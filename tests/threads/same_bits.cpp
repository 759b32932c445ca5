// Promise 5: a token's logits are the same bits whatever the number of threads, the cut of the prompt, and the neighbours.
// Registered once per ISA, with PUNA_FORCE_ISA.
#include <cstdlib>
#include <random>

#include "model_support.hpp"
#include "puna/infer/generate.hpp"
#include "puna/infer/synthetic.hpp"
#include "puna/kernels/table.hpp"

using namespace puna_test;

namespace {

// A forced path that this machine lacks is a skip with a reason, never a pass.
#define REQUIRE_ISA()                                                                                   \
  const char* forced = std::getenv("PUNA_FORCE_ISA");                                                    \
  if (forced && *forced && !machine_has(forced)) PUNA_SKIP(std::string("this machine or build cannot run ") + forced); \
  covered_isa(puna::machine_kernels().name)

bool machine_has(const char* name) {
  for (puna::Isa isa : puna::available_isas())
    if (puna::isa_name(isa) == name) return true;
  return false;
}

std::vector<std::int32_t> random_ids(std::size_t n, std::uint32_t V, unsigned seed) {
  std::mt19937 gen(seed);
  std::vector<std::int32_t> ids(n);
  for (auto& id : ids) id = static_cast<std::int32_t>(gen() % V);
  return ids;
}

std::shared_ptr<const puna::Model> synthetic(const std::string& spec, std::uint32_t threads) {
  puna::ModelLoader loader(make_runtime(threads), nullptr, [spec] { return puna::synthetic_weights(spec); }, {});
  while (!loader.step({}, nullptr)) {
  }
  return loader.take();
}

// Every fixture type: f32, f16 and block types alike.
const char* const types[] = {"f32", "f16", "bf16", "q4_0", "q5_1", "q8_0", "q2_K", "q4_K", "q6_K", "iq4_xs", "mixed"};

const puna::DType cache_types[] = {puna::DType::f32, puna::DType::f16, puna::DType::q8_0, puna::DType::q4_0};
bool takes(const puna::Model& model, puna::DType cache) { return puna::cache_type_fits(cache, model.config().E); }

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The last logits of ids fed as one sequence of eight that are interleaved in one batch.
std::vector<float> beside_seven(const std::shared_ptr<const puna::Model>& model, const std::vector<std::int32_t>& ids, puna::DType cache) {
  puna::SessionOptions options;
  options.sequences = 8;
  options.context = model->config().context;
  options.cache_type = cache;
  options.batch = 37;  // cuts the batch in odd places
  puna::Session session(model, options);
  std::vector<std::int32_t> all;
  std::vector<std::uint32_t> sequences;
  std::vector<std::vector<std::int32_t>> others;
  for (unsigned s = 0; s < 8; ++s) others.push_back(random_ids(ids.size(), model->config().V, 100 + s));
  others[5] = ids;
  for (std::size_t i = 0; i < ids.size(); ++i)
    for (std::uint32_t s = 0; s < 8; ++s) all.push_back(others[s][i]), sequences.push_back(s);
  puna::FeedInput feed;
  feed.ids = all;
  feed.count = static_cast<std::uint32_t>(all.size());
  feed.sequences = sequences;
  session.feed(feed);
  const auto row = session.logits(static_cast<std::uint32_t>(all.size()) - 3);
  return {row.begin(), row.end()};
}

}  // namespace

TEST_CASE("same bits for 1, 2, 3 and 8 threads, and for prompts cut into 1, 7, 64 and 512") {
  REQUIRE_ISA();
  for (const char* type : types) {
    for (puna::DType cache : cache_types) {
      CAPTURE(type);
      CAPTURE(static_cast<int>(cache));
      const fs::path file = fixture("gguf") / (std::string(type) + ".gguf");
      std::vector<float> reference;
      for (std::uint32_t threads : {1u, 2u, 3u, 8u}) {
        const auto model = load_model(file, make_runtime(threads));
        if (!takes(*model, cache)) continue;
        const auto ids = random_ids(90, model->config().V, 7);
        for (std::uint32_t chunk : {1u, 7u, 64u, 512u}) {
          const auto logits = run_logits(model, ids, chunk, cache, 96);
          if (reference.empty()) reference = logits;
          CAPTURE(threads);
          CAPTURE(chunk);
          CHECK(same(logits, reference));
        }
      }
    }
  }
}

TEST_CASE("same bits alone and beside seven other sequences") {
  REQUIRE_ISA();
  for (const char* type : types) {
    for (puna::DType cache : cache_types) {
      CAPTURE(type);
      const auto model = load_model(fixture("gguf") / (std::string(type) + ".gguf"), make_runtime(3));
      if (!takes(*model, cache)) continue;
      const auto ids = random_ids(static_cast<std::size_t>(std::min(model->config().context, 30u)), model->config().V, 11);
      const auto alone = run_logits(model, ids, 512, cache);
      const std::vector<float> last(alone.end() - model->config().V, alone.end());
      CHECK(same(beside_seven(model, ids, cache), last));
    }
  }
}

TEST_CASE("same bits at a width where work is really shared out, over several pages of the cache") {
  REQUIRE_ISA();
  for (const char* spec : {"15m:f32", "15m:q8_0"}) {
    CAPTURE(spec);
    std::vector<float> reference;
    for (std::uint32_t threads : {1u, 2u, 3u, 8u}) {
      const auto model = synthetic(spec, threads);
      const auto ids = random_ids(150, model->config().V, 3);
      for (std::uint32_t chunk : {7u, 64u, 512u}) {
        puna::SessionOptions options;
        options.batch = chunk;
        puna::Session session(model, options);
        puna::FeedInput feed;
        feed.ids = ids;
        feed.count = 150;
        session.feed(feed);
        const auto row = session.logits(149);
        const std::vector<float> logits(row.begin(), row.end());
        if (reference.empty()) reference = logits;
        CAPTURE(threads);
        CAPTURE(chunk);
        CHECK(same(logits, reference));
      }
    }
  }
}

TEST_CASE("same bits with every type of cache, over several pages and with heads that share keys") {
  REQUIRE_ISA();
  for (puna::DType cache : cache_types) {
    CAPTURE(static_cast<int>(cache));
    std::vector<float> reference;
    for (std::uint32_t threads : {1u, 2u, 3u, 8u}) {
      const auto model = load_model(fixture("tiny/model.gguf"), make_runtime(threads));
      const auto ids = random_ids(200, model->config().V, 3);
      for (std::uint32_t chunk : {1u, 7u, 64u, 512u}) {
        const auto logits = run_logits(model, ids, chunk, cache, 256);
        if (reference.empty()) reference = logits;
        CAPTURE(threads);
        CAPTURE(chunk);
        CHECK(same(logits, reference));
      }
    }
  }
}

TEST_CASE("same bits when a pass is stopped after every tile") {
  REQUIRE_ISA();
  const auto model = load_model(fixture("gguf") / "q4_K.gguf", make_runtime(2));
  const auto ids = random_ids(40, model->config().V, 5);
  const auto whole = run_logits(model, ids, 512, puna::DType::f16, 64);
  puna::SessionOptions options;
  options.context = 64;
  puna::Session session(model, options);
  puna::FeedInput feed;
  feed.ids = ids;
  feed.count = 40;
  session.begin_feed(feed);
  int steps = 1;
  while (!session.step_feed(puna::Deadline::after(0), nullptr)) ++steps;
  MESSAGE(steps << " steps");
  CHECK(steps > 20);
  const auto row = session.logits(39);
  CHECK(same({row.begin(), row.end()}, {whole.end() - model->config().V, whole.end()}));
}

TEST_CASE("same bits after fork, truncate and another way back") {
  REQUIRE_ISA();
  for (puna::DType cache : cache_types) {
    CAPTURE(static_cast<int>(cache));
    const auto model = load_model(fixture("gguf") / "q4_K.gguf", make_runtime(2));  // heads of 32
    const auto ids = random_ids(130, model->config().V, 9);
    const auto whole = run_logits(model, ids, 512, cache, 160);
    puna::SessionOptions options;
    options.cache_type = cache;
    options.context = 160;
    options.sequences = 2;
    puna::Session session(model, options);
    const auto feed = [&](std::uint32_t sequence, std::size_t from, std::size_t to) {
      const std::vector<std::uint32_t> sequences(to - from, sequence);
      puna::FeedInput in;
      in.ids = std::span(ids).subspan(from, to - from);
      in.count = static_cast<std::uint32_t>(to - from);
      in.sequences = sequences;
      session.feed(in);
      const auto row = session.logits(in.count - 1);
      return std::vector<float>(row.begin(), row.end());
    };
    const auto at = [&](std::size_t row) {
      const auto V = static_cast<std::ptrdiff_t>(model->config().V);
      return std::vector<float>(whole.begin() + static_cast<std::ptrdiff_t>(row) * V, whole.begin() + static_cast<std::ptrdiff_t>(row + 1) * V);
    };
    feed(0, 0, 100);
    session.fork(0, 1);
    CHECK(same(feed(1, 100, 130), at(129)));  // copies the shared page
    CHECK(same(feed(0, 100, 110), at(109)));  // the first is unharmed
    session.truncate(1, 65);
    CHECK(same(feed(1, 65, 128), at(127)));
    session.fork(1, 0);
    CHECK(same(feed(0, 128, 129), at(128)));
  }
}
