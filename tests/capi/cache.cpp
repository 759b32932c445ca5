// The cache's types as a host sees them: bytes, forecast, what was taken.
#include "support.hpp"

#include <cstring>

using namespace puna_test;

namespace {

struct Case {
  int32_t type;
  uint64_t row;  // bytes of a head of 32 of the demo model
};
const Case cases[] = {{PUNA_CACHE_F32, 128}, {PUNA_CACHE_F16, 64}, {PUNA_CACHE_Q8_0, 34}, {PUNA_CACHE_Q4_0, 18}};

puna_session_options with_cache(int32_t type) {
  puna_session_options options;
  puna_session_options_init(&options, sizeof options);
  options.cache_type = type;
  options.threads = 1;
  return options;
}

}  // namespace

TEST_CASE("for every type of cache the forecast equals what is taken, to the byte") {
  const std::string path = fixture("tiny/model.gguf").string();
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = path.c_str();
  for (const Case& c : cases) {
    CAPTURE(c.type);
    CountingAllocator host;
    const Runtime runtime = host.runtime();
    const Model model = open_model(path, runtime.get());
    puna_session_options options = with_cache(c.type);
    options.context = 128;
    options.sequences = 3;
    puna_plan plan;
    PUNA_OKAY(puna_plan_generate(&source, nullptr, &options, &plan, sizeof plan, e));
    const uint64_t before = host.bytes;
    const Session session = make_session(model.get(), &options);
    CHECK(host.bytes - before == plan.cache_bytes + plan.workspace_bytes);
    // 4 layers, 2 key heads, keys and values; 6 pages of 64 tokens, and a last one for each fork.
    CHECK(plan.cache_bytes == c.row * 4 * 2 * 2 * 64 * (6 + 2));
    puna_session_info info;
    PUNA_OKAY(puna_session_get_info(session.get(), &info, sizeof info, e));
    CHECK(info.cache_type == c.type);
    CHECK(info.cache_bytes == plan.cache_bytes);
    CHECK(info.cache_tokens == 384);
    CHECK(info.context == 128);
    CHECK(info.sequences == 3);
    CHECK(info.batch == 384);
    CHECK(info.max_logits == 3);
    CHECK(info.threads == 1);
  }
}

TEST_CASE("a model whose heads no block divides gets an f16 cache, in the forecast too, and its log says so") {
  const std::string path = fixture("gguf/q8_0.gguf").string();  // heads of 16
  std::string log;
  puna_runtime_options runtime_options;
  puna_runtime_options_init(&runtime_options, sizeof runtime_options);
  runtime_options.log = [](void* user, int32_t level, const char* text, size_t n) {
    if (level == PUNA_LOG_WARNING) static_cast<std::string*>(user)->append(text, n);
  };
  runtime_options.log_user = &log;
  puna_runtime* raw = nullptr;
  PUNA_OKAY(puna_runtime_create(&raw, &runtime_options, e));
  const Runtime runtime(raw);
  const Model model = open_model(path, raw);
  puna_session_options options = with_cache(PUNA_CACHE_F16);
  const Session plain = make_session(model.get(), &options);
  CHECK(log.empty());
  options.cache_type = PUNA_CACHE_Q8_0;
  const Session session = make_session(model.get(), &options);
  CHECK(log.find("q8_0") != std::string::npos);
  CHECK(log.find("f16") != std::string::npos);
  puna_session_info a, b;
  PUNA_OKAY(puna_session_get_info(plain.get(), &a, sizeof a, e));
  PUNA_OKAY(puna_session_get_info(session.get(), &b, sizeof b, e));
  CHECK(b.cache_type == PUNA_CACHE_F16);
  CHECK(std::memcmp(&a, &b, sizeof a) == 0);
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = path.c_str();
  puna_plan plan;
  PUNA_OKAY(puna_plan_generate(&source, nullptr, &options, &plan, sizeof plan, e));
  CHECK(plan.cache_bytes == b.cache_bytes);
}

TEST_CASE("every type of cache generates, forks and goes on as it would have") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  for (const Case& c : cases) {
    CAPTURE(c.type);
    puna_session_options options = with_cache(c.type);
    options.sequences = 2;
    const Session session = make_session(model.get(), &options);
    puna_generate_options generate;
    puna_generate_options_init(&generate, sizeof generate);
    generate.max_tokens = 90;
    generate.flags = PUNA_GENERATE_IGNORE_EOS;
    std::string whole, begun, forked;
    const char* prompt = "Once upon a time";
    PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &whole, e));
    const auto ids = sequence_ids(session.get());
    PUNA_OKAY(puna_session_fork(session.get(), 0, 1, e));
    PUNA_OKAY(puna_session_truncate(session.get(), 1, 70, e));  // inside a page that both hold
    puna_batch batch;
    puna_batch_init(&batch, sizeof batch);
    const std::vector<uint32_t> sequences(ids.size() - 70, 1u);
    batch.ids = ids.data() + 70;
    batch.sequences = sequences.data();
    batch.count = static_cast<uint32_t>(sequences.size());
    PUNA_OKAY(puna_session_feed(session.get(), &batch, e));
    const float* logits = nullptr;
    size_t count = 0;
    PUNA_OKAY(puna_session_logits(session.get(), batch.count - 1, &logits, &count, e));
    const std::vector<float> again(logits, logits + count);
    PUNA_OKAY(puna_session_drop(session.get(), 0, e));
    const std::vector<uint32_t> first(ids.size(), 0u);
    batch.ids = ids.data();
    batch.sequences = first.data();
    batch.count = static_cast<uint32_t>(ids.size());
    PUNA_OKAY(puna_session_feed(session.get(), &batch, e));
    PUNA_OKAY(puna_session_logits(session.get(), batch.count - 1, &logits, &count, e));
    CHECK(std::memcmp(again.data(), logits, count * sizeof(float)) == 0);
  }
}
