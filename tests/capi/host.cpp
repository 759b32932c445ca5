// The host in charge: memory, threads, time, cancelling, callbacks.
#include "support.hpp"

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#ifndef _WIN32
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace puna_test;
using Clock = std::chrono::steady_clock;

namespace {

const char* const prompt = "Once upon a time";

double ms_since(Clock::time_point from) { return std::chrono::duration<double, std::milli>(Clock::now() - from).count(); }

puna_generate_options tokens(uint32_t n) {
  puna_generate_options options;
  puna_generate_options_init(&options, sizeof options);
  options.max_tokens = n;
  options.flags = PUNA_GENERATE_IGNORE_EOS;
  return options;
}

// Load, session, sampler, a short generation: every step may fail, none may leak or crash.
int32_t whole_run(puna_runtime* runtime, const std::string& path, uint32_t flags, std::string* text, Error& error) {
  puna_model_options load;
  puna_model_options_init(&load, sizeof load);
  load.flags = flags;
  puna_model* model = nullptr;
  int32_t status = puna_model_open(&model, runtime, path.c_str(), &load, &error);
  puna_session* session = nullptr;
  puna_session_options options;
  puna_session_options_init(&options, sizeof options);
  options.context = 64;
  if (!status) status = puna_session_create(&session, model, &options, &error);
  const auto generate = tokens(8);
  if (!status) status = puna_session_generate(session, prompt, std::strlen(prompt), &generate, append_text, text, &error);
  puna_model_destroy(model);  // before its child: order is free
  puna_session_destroy(session);
  return status;
}

}  // namespace

TEST_CASE("the host's allocator counts every byte, and none is left") {
  CountingAllocator host;
  const fs::path path = fixture("tiny/model.gguf");
  {
    const Runtime runtime = host.runtime();
    puna_model_options load;
    puna_model_options_init(&load, sizeof load);
    load.flags = PUNA_MODEL_COPY;
    const Model model = open_model(path, runtime.get(), &load);
    puna_model_info info;
    PUNA_OKAY(puna_model_get_info(model.get(), &info, sizeof info, e));
    CHECK(host.bytes == info.weight_bytes);
    puna_session_options options;
    puna_session_options_init(&options, sizeof options);
    options.context = 128;
    options.sequences = 3;
    const Session session = make_session(model.get(), &options);
    puna_runtime_info runtime_info;
    PUNA_OKAY(puna_runtime_get_info(runtime.get(), &runtime_info, sizeof runtime_info, e));
    CHECK(runtime_info.memory_used == host.bytes);
    // The forecast, made before, is what was taken.
    puna_source source;
    puna_source_init(&source, sizeof source);
    const std::string name = path.string();
    source.path = name.c_str();
    options.threads = 1;
    puna_plan plan;
    PUNA_OKAY(puna_plan_generate(&source, &load, &options, &plan, sizeof plan, e));
    CHECK(plan.copied_bytes == info.weight_bytes);
    CHECK(plan.copied_bytes + plan.cache_bytes + plan.workspace_bytes == host.bytes);
    // Nothing is taken between token in and token out.
    struct Calls {
      CountingAllocator* host;
      uint64_t first = 0, last = 0;
    } calls{&host};
    std::string text;
    auto generate = tokens(20);
    generate.on_token_user = &calls;
    generate.on_token = [](void* user, const puna_token_event*) -> int32_t {
      auto& c = *static_cast<Calls*>(user);
      c.last = c.host->calls;
      if (c.first == 0) c.first = c.last;
      return 0;
    };
    PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &text, e));
    CHECK(calls.first > 0);
    CHECK(calls.last == calls.first);
  }
  CHECK(host.bytes == 0);
}

TEST_CASE("failing the nth allocation, for every n, gives a status each time") {
  for (const char* file : {"tiny/model.gguf", "gguf/q4_K.gguf", "hf/gqa_sharded", "llama2c/v2_group64/model.bin"}) {
    for (const uint32_t flags : {PUNA_MODEL_COPY, uint32_t{0}}) {
      CAPTURE(file);
      const std::string path = fixture(file).string();
      uint64_t n = 1;
      for (;; ++n) {
        CountingAllocator host;
        host.fail_at = n;
        int32_t status;
        {
          const Runtime runtime = host.runtime();
          Error error;
          std::string text;
          status = whole_run(runtime.get(), path, flags, &text, error);
          if (host.calls >= n) {
            CHECK(status == PUNA_E_MEMORY);
            CHECK(std::strlen(error.text) > 0);
          }
        }
        CHECK(host.bytes == 0);
        if (host.calls < n) break;  // n is past the last allocation
        REQUIRE(n < 1000);
      }
      CHECK(n > 3);
    }
  }
}

TEST_CASE("a memory limit refuses with the numbers") {
  puna_runtime_options options;
  puna_runtime_options_init(&options, sizeof options);
  options.memory_limit = 100000;
  puna_runtime* raw = nullptr;
  PUNA_OKAY(puna_runtime_create(&raw, &options, e));
  const Runtime runtime(raw);
  Error error;
  std::string text;
  CHECK(whole_run(raw, fixture("tiny/model.gguf").string(), PUNA_MODEL_COPY, &text, error) == PUNA_E_MEMORY);
  CHECK(std::string(error.text).find("100000") != std::string::npos);
}

TEST_CASE("packed or as stored, mapped or copied: the same text, and the forecast holds") {
  for (const char* file : {"gguf/q4_0.gguf", "gguf/q8_0.gguf", "gguf/q4_K.gguf", "gguf/q6_K.gguf"}) {
    CAPTURE(file);
    const std::string path = fixture(file).string();
    std::string first;
    for (const uint32_t flags : {uint32_t{0}, PUNA_MODEL_AS_STORED, PUNA_MODEL_COPY, PUNA_MODEL_COPY | PUNA_MODEL_AS_STORED}) {
      CAPTURE(flags);
      CountingAllocator host;
      {
        const Runtime runtime = host.runtime();
        puna_model_options load;
        puna_model_options_init(&load, sizeof load);
        load.flags = flags;
        puna_source source;
        puna_source_init(&source, sizeof source);
        source.path = path.c_str();
        puna_plan plan;
        PUNA_OKAY(puna_plan_generate(&source, &load, nullptr, &plan, sizeof plan, e));
        const Model model = open_model(path, runtime.get(), &load);
        CHECK(host.bytes == plan.copied_bytes);
        if (flags & PUNA_MODEL_AS_STORED) CHECK((plan.copied_bytes == plan.weight_bytes) == ((flags & PUNA_MODEL_COPY) != 0));
      }
      Error error;
      std::string text;
      CHECK(whole_run(nullptr, path, flags, &text, error) == PUNA_OK);
      if (first.empty()) first = text;
      CHECK(!text.empty());
      CHECK(text == first);
    }
  }
}

TEST_CASE("a limit of exactly the forecast is enough to load and generate, a byte less is not") {
  const std::string path = fixture("tiny/model.gguf").string();
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = path.c_str();
  puna_model_options load;
  puna_model_options_init(&load, sizeof load);
  load.flags = PUNA_MODEL_COPY;
  puna_session_options session_options;
  puna_session_options_init(&session_options, sizeof session_options);
  session_options.context = 256;
  puna_plan plan;
  PUNA_OKAY(puna_plan_generate(&source, &load, &session_options, &plan, sizeof plan, e));
  const auto run = [&](uint64_t limit) -> int32_t {
    puna_runtime_options options;
    puna_runtime_options_init(&options, sizeof options);
    options.memory_limit = limit;
    puna_runtime* raw_runtime = nullptr;
    PUNA_OKAY(puna_runtime_create(&raw_runtime, &options, e));
    const Runtime runtime(raw_runtime);
    const Model model = open_model(path, raw_runtime, &load);
    Error error;
    puna_session* raw = nullptr;
    if (const int32_t status = puna_session_create(&raw, model.get(), &session_options, &error)) return status;
    const Session session(raw);
    std::string text;
    const auto generate = tokens(24);
    return puna_session_generate(raw, prompt, std::strlen(prompt), &generate, append_text, &text, &error);
  };
  CHECK(run(plan.memory_bytes) == PUNA_OK);
  CHECK(run(plan.memory_bytes - 1) == PUNA_E_MEMORY);
}

TEST_CASE("a probe of the machine fills what was asked for, and a plan its times, for callers that know them") {
  const std::string path = fixture("tiny/model.gguf").string();
  const Model model = open_model(path);
  puna_machine_speed speed;
  PUNA_OKAY(puna_machine_probe(nullptr, model.get(), 0, 1, &speed, sizeof speed, e));
  CHECK(speed.threads > 0);
  CHECK(speed.read_bytes > 0);
  CHECK(speed.fp32_operations > 0);
  CHECK(std::strlen(speed.fp32_instruction) > 0);
  CHECK((speed.int8_operations > 0) == (std::strlen(speed.int8_instruction) > 0));
  PUNA_OKAY(puna_machine_probe(nullptr, nullptr, PUNA_PROBE_FP32, 1, &speed, sizeof speed, e));
  CHECK(speed.fp32_operations > 0);
  CHECK(speed.read_bytes == 0);
  CHECK(speed.int8_operations == 0);
  Error error;
  CHECK(puna_machine_probe(nullptr, nullptr, 8, 1, &speed, sizeof speed, &error) == PUNA_E_UNSUPPORTED);
  CHECK(puna_machine_probe(nullptr, nullptr, 0, 0, &speed, sizeof speed, &error) == PUNA_E_ARGUMENT);
  CHECK(puna_machine_probe(nullptr, nullptr, 0, 1, nullptr, sizeof speed, &error) == PUNA_E_ARGUMENT);

  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = path.c_str();
  puna_plan plan;
  PUNA_OKAY(puna_plan_generate(&source, nullptr, nullptr, &plan, sizeof plan, e));
  CHECK(plan.load_ms >= 0);
  CHECK(plan.prompt_tokens_per_second > 0);
  CHECK(plan.decode_tokens_per_second > 0);
  const puna_plan whole = plan;
  plan.load_ms = -1;
  PUNA_OKAY(puna_plan_generate(&source, nullptr, nullptr, &plan, offsetof(puna_plan, load_ms), e));
  CHECK(plan.memory_bytes == whole.memory_bytes);
  CHECK(plan.load_ms == -1);  // an older caller's memory ends before it

  puna_model_info info;
  PUNA_OKAY(puna_model_get_info(model.get(), &info, sizeof info, e));
  const uint64_t d = info.dim, kv = uint64_t{info.kv_heads} * info.head_dim, q = uint64_t{info.heads} * info.head_dim;
  CHECK(info.layer_weights == info.layers * (2 * d * q + 2 * d * kv + 3 * d * info.ffn_dim));
  CHECK(info.head_weights == d * info.vocab);
}

TEST_CASE("the same model from a path, memory, a descriptor and a callback gives the same text") {
  const fs::path path = fixture("tiny/model.gguf");
  const auto bytes = read_file(path);
  std::vector<std::string> texts;
  const auto run = [&](const puna_source& source) {
    puna_model* raw = nullptr;
    PUNA_OKAY(puna_model_open_source(&raw, nullptr, &source, nullptr, e));
    const Model model(raw);
    const Session session = make_session(raw);
    std::string text;
    const auto generate = tokens(24);
    PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &text, e));
    texts.push_back(text);
  };
  puna_source source;
  puna_source_init(&source, sizeof source);
  const std::string name = path.string();
  source.path = name.c_str();
  run(source);
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_MEMORY;
  source.data = bytes.data();
  source.size = bytes.size();
  run(source);
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_CALLBACK;
  source.size = bytes.size();
  source.user = const_cast<void*>(static_cast<const void*>(&bytes));
  source.read = [](void* user, uint64_t offset, void* dst, size_t n) -> int32_t {
    const auto& b = *static_cast<std::vector<std::uint8_t>*>(user);
    if (offset + n > b.size()) return 1;
    std::memcpy(dst, b.data() + offset, n);
    return 0;
  };
  run(source);
  source.read = [](void*, uint64_t, void*, size_t) -> int32_t { return 42; };
  puna_model* none = nullptr;
  Error error;
  CHECK(puna_model_open_source(&none, nullptr, &source, nullptr, &error) == PUNA_E_CALLBACK);
  CHECK(error.user_code == 42);
#ifndef _WIN32
  const int descriptor = ::open(name.c_str(), O_RDONLY);
  REQUIRE(descriptor >= 0);
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_DESCRIPTOR;
  source.descriptor = descriptor;
  run(source);
  ::close(descriptor);
#endif
  for (const auto& text : texts) CHECK(text == texts[0]);
  CHECK(!texts[0].empty());
}

TEST_CASE("SHA-256 pinning accepts the file and refuses another") {
  // Digest by: sha256sum (coreutils 9.1), computed at run time from the same file would prove nothing, so a known file.
  TempDir temp;
  write_file(temp / "abc.gguf", "abc");
  puna_source source;
  puna_source_init(&source, sizeof source);
  const std::string name = (temp / "abc.gguf").string();
  source.path = name.c_str();
  // "abc" by FIPS 180-4, appendix B.1.
  source.sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  puna_model* none = nullptr;
  Error error;
  CHECK(puna_model_open_source(&none, nullptr, &source, nullptr, &error) == PUNA_E_FORMAT);  // the pin held; it is no model
  source.sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ae";
  CHECK(puna_model_open_source(&none, nullptr, &source, nullptr, &error) == PUNA_E_HASH);
  source.sha256 = "12";
  CHECK(puna_model_open_source(&none, nullptr, &source, nullptr, &error) == PUNA_E_ARGUMENT);
}

TEST_CASE("a job is stepped, or started and waited for, with the same text") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  const auto generate = tokens(40);
  std::string blocking, stepped, started;
  {
    const Session session = make_session(model.get());
    PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &blocking, e));
  }
  {
    const Session session = make_session(model.get());
    puna_job* raw = nullptr;
    PUNA_OKAY(puna_session_generate_job(&raw, session.get(), prompt, std::strlen(prompt), &generate, append_text, &stepped, e));
    const Job job(raw);
    int32_t done = 0;
    int steps = 0;
    puna_progress progress;
    while (!done) {
      PUNA_OKAY(puna_job_step(raw, 0, &done, e));
      PUNA_OKAY(puna_job_progress(raw, &progress, sizeof progress, e));
      ++steps;
      uint32_t length = 0;
      Error error;
      if (!done) CHECK(puna_session_length(session.get(), 0, &length, &error) == PUNA_E_BUSY);
    }
    CHECK(steps > 100);
    CHECK(progress.phase == PUNA_PHASE_DECODE);
    CHECK(progress.done == 40);
  }
  {
    const Session session = make_session(model.get());
    puna_job* raw = nullptr;
    PUNA_OKAY(puna_session_generate_job(&raw, session.get(), prompt, std::strlen(prompt), &generate, append_text, &started, e));
    const Job job(raw);
    PUNA_OKAY(puna_job_start(raw, e));
    Error error;
    CHECK(puna_job_step(raw, 1, nullptr, &error) == PUNA_E_STATE);
    int32_t done = 0;
    while (!done) PUNA_OKAY(puna_job_wait(raw, 5, &done, e));
  }
  CHECK(stepped == blocking);
  CHECK(started == blocking);
}

TEST_CASE("a job that failed is done, and says so each time") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  auto options = tokens(5);
  options.on_token = [](void*, const puna_token_event*) -> int32_t { return -7; };
  for (const bool start : {false, true}) {
    const Session session = make_session(model.get());
    puna_job* raw = nullptr;
    PUNA_OKAY(puna_session_generate_job(&raw, session.get(), prompt, std::strlen(prompt), &options, nullptr, nullptr, e));
    const Job job(raw);
    Error error;
    int32_t done = 0, status = PUNA_OK;
    if (start) PUNA_OKAY(puna_job_start(raw, e));
    while (!done) status = start ? puna_job_wait(raw, 5, &done, &error) : puna_job_step(raw, 0, &done, &error);
    CHECK(status == PUNA_E_CALLBACK);
    CHECK(error.user_code == -7);
    done = 0;
    CHECK(puna_job_poll(raw, &done, &error) == PUNA_E_CALLBACK);
    CHECK(done == 1);
  }
}

TEST_CASE("a callback's own value comes back, and re-entry is refused") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  const Session session = make_session(model.get());
  struct Reentry {
    puna_session* session;
    int32_t status = 0;
  } reentry{session.get()};
  auto options = tokens(5);
  options.on_token_user = &reentry;
  options.on_token = [](void* user, const puna_token_event*) -> int32_t {
    auto& r = *static_cast<Reentry*>(user);
    uint32_t length;
    r.status = puna_session_length(r.session, 0, &length, nullptr);
    return -77;
  };
  Error error;
  CHECK(puna_session_generate(session.get(), prompt, std::strlen(prompt), &options, nullptr, nullptr, &error) == PUNA_E_CALLBACK);
  CHECK(error.user_code == -77);
  CHECK(reentry.status == PUNA_E_BUSY);
  uint32_t length = 0;
  PUNA_OKAY(puna_session_length(session.get(), 0, &length, e));  // free again
}

TEST_CASE("cancel from another thread ends prompts, decoding and loading, and the session lives on") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  puna_cancel* raw = nullptr;
  PUNA_OKAY(puna_cancel_create(&raw, e));
  const Cancel cancel(raw);
  const Session session = make_session(model.get());
  auto options = tokens(100000);
  options.cancel = raw;
  std::string text;
  std::atomic<bool> began{false};
  struct Begin {
    std::atomic<bool>* began;
  } begin{&began};
  options.on_token_user = &begin;
  options.on_token = [](void* user, const puna_token_event*) -> int32_t {
    *static_cast<Begin*>(user)->began = true;
    return 0;
  };
  Clock::time_point tripped;
  std::thread other([&] {
    while (!began) std::this_thread::yield();
    tripped = Clock::now();
    puna_cancel_trip(raw);
  });
  Error error;
  const int32_t status = puna_session_generate(session.get(), prompt, std::strlen(prompt), &options, append_text, &text, &error);
  const Clock::time_point returned = Clock::now();
  other.join();
  // The context may fill before the other thread runs on a busy machine; that is no failure of cancelling.
  if (status == PUNA_OK) PUNA_SKIP("the machine was too busy to cancel in time");
  CHECK(status == PUNA_E_CANCELLED);
  MESSAGE("cancelled after " << std::chrono::duration<double, std::milli>(returned - tripped).count() << " ms");
  PUNA_OKAY(puna_session_drop(session.get(), 0, e));
  const auto again = tokens(4);
  PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &again, append_text, &text, e));
  // A tripped token stops a load as well.
  puna_model_options load;
  puna_model_options_init(&load, sizeof load);
  load.cancel = raw;
  puna_model* none = nullptr;
  CHECK(puna_model_open(&none, nullptr, fixture("tiny/model.gguf").string().c_str(), &load, &error) == PUNA_E_CANCELLED);
}

TEST_CASE("a host's task system with fewer workers than asked for, and its log") {
  puna_runtime_options options;
  puna_runtime_options_init(&options, sizeof options);
  options.threads = 8;
  uint32_t calls = 0;
  options.tasks_user = &calls;
  options.parallel_for = [](void* user, uint32_t count, puna_task_fn task, void* context) {
    ++*static_cast<uint32_t*>(user);
    for (uint32_t i = count; i-- > 0;) task(context, i);  // one worker, in an odd order
  };
  puna_runtime* raw = nullptr;
  PUNA_OKAY(puna_runtime_create(&raw, &options, e));
  const Runtime runtime(raw);
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_SYNTHETIC;
  source.path = "15m:q8_0";
  std::vector<std::vector<float>> rows;
  for (puna_runtime* r : {raw, static_cast<puna_runtime*>(nullptr)}) {
    puna_model* model_raw = nullptr;
    PUNA_OKAY(puna_model_open_source(&model_raw, r, &source, nullptr, e));
    const Model model(model_raw);
    const Session session = make_session(model_raw);
    const int32_t ids[] = {1, 2, 3, 4, 5};
    puna_batch batch;
    puna_batch_init(&batch, sizeof batch);
    batch.ids = ids;
    batch.count = 5;
    PUNA_OKAY(puna_session_feed(session.get(), &batch, e));
    const float* row = nullptr;
    size_t n = 0;
    PUNA_OKAY(puna_session_logits(session.get(), 4, &row, &n, e));
    rows.emplace_back(row, row + n);
  }
  CHECK(calls > 0);
  CHECK(rows[0] == rows[1]);
}

#if defined(__x86_64__)
TEST_CASE("a host that flushes denormals to zero gets the same text, and its mode back") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  const auto generate = tokens(24);
  std::string plain, flushed;
  {
    const Session session = make_session(model.get());
    PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &plain, e));
  }
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040u | 0x6000u);  // FTZ, DAZ, round toward zero
  const unsigned host = _mm_getcsr();
  const Session session = make_session(model.get());
  PUNA_OKAY(puna_session_generate(session.get(), prompt, std::strlen(prompt), &generate, append_text, &flushed, e));
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK((after & ~0x3fu) == (host & ~0x3fu));
  CHECK(flushed == plain);
}
#endif

#ifndef _WIN32
TEST_CASE("after fork() the child may destroy what it inherited") {
  if (sanitized()) PUNA_SKIP("fork() with threads is not for sanitizers");
  puna_runtime_options options;
  puna_runtime_options_init(&options, sizeof options);
  options.threads = 3;
  puna_runtime* raw = nullptr;
  PUNA_OKAY(puna_runtime_create(&raw, &options, e));
  Runtime runtime(raw);
  Model model = open_model(fixture("tiny/model.gguf"), raw);
  Session session = make_session(model.get());
  const pid_t child = fork();
  if (child == 0) {
    session.reset();
    model.reset();
    runtime.reset();
    _exit(0);
  }
  REQUIRE(child > 0);
  int status = -1;
  const auto from = Clock::now();
  while (waitpid(child, &status, WNOHANG) == 0 && ms_since(from) < 20000) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("option structs grow: an older one works, a newer one with zeros works, a newer one with news is refused") {
  const Model model = open_model(fixture("tiny/model.gguf"));
  struct Newer {
    puna_session_options known;
    uint64_t unknown;
  } newer;
  puna_session_options_init(&newer.known, sizeof newer);
  CHECK(newer.known.struct_size == sizeof newer);
  CHECK(newer.unknown == 0);
  puna_session* session = nullptr;
  PUNA_OKAY(puna_session_create(&session, model.get(), &newer.known, e));
  puna_session_destroy(session);
  newer.unknown = 1;
  Error error;
  session = nullptr;
  CHECK(puna_session_create(&session, model.get(), &newer.known, &error) == PUNA_E_UNSUPPORTED);
  CHECK(session == nullptr);
  // An older caller knows context and sequences only; bytes past its struct must not be read.
  puna_session_options older;
  std::memset(&older, 0xee, sizeof older);
  puna_session_options_init(&older, 12);
  older.context = 64;
  CHECK(older.struct_size == 12);
  PUNA_OKAY(puna_session_create(&session, model.get(), &older, e));
  puna_session_destroy(session);
  puna_session_options raw{};
  CHECK(puna_session_create(&session, model.get(), &raw, &error) == PUNA_E_ARGUMENT);  // no init
  // Outputs: an older caller gets what fits its struct.
  puna_model_info info;
  std::memset(&info, 0xee, sizeof info);
  PUNA_OKAY(puna_model_get_info(model.get(), &info, 8, e));
  CHECK(info.struct_size == 8);
  CHECK(info.dim != 0xeeeeeeeeu);
  CHECK(info.ffn_dim == 0xeeeeeeeeu);
}

TEST_CASE("error text is cut on a character border") {
  struct Small {
    puna_error error;
  } small;
  puna_error_init(&small.error, 16 + 40);
  std::string path;
  for (int i = 0; i < 40; ++i) path += "ü";
  puna_model* none = nullptr;
  CHECK(puna_model_open(&none, nullptr, path.c_str(), nullptr, &small.error) == PUNA_E_IO);
  const std::string text = small.error.text;
  CHECK(text.size() < 40);
  CHECK(text.size() > 30);
  CHECK((static_cast<unsigned char>(text.back()) & 0xc0) == 0x80);  // a whole two-byte character ends it
}
