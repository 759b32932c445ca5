// Training as a host sees it: what it needs is told before, and refused where it is not there.
#include "support.hpp"

#include <cstdlib>
#include <string>
#include <vector>

using namespace puna_test;

namespace {

// The host's own count, as a peak.
struct Counted {
  uint64_t now = 0, peak = 0;
  static void* PUNA_CALL allocate(void* user, size_t bytes, size_t alignment) {
    auto& self = *static_cast<Counted*>(user);
    self.now += bytes;
    self.peak = self.now > self.peak ? self.now : self.peak;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  static void PUNA_CALL release(void* user, void* memory, size_t bytes, size_t) {
    static_cast<Counted*>(user)->now -= bytes;
    std::free(memory);
  }
};

struct Run {
  int32_t status = -1;
  std::string text;
  uint64_t peak = 0;
};

puna_source path_source(const std::string& name) {
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = name.c_str();
  return source;
}

puna_runtime_options runtime_options(Counted& counted, uint64_t limit) {
  puna_runtime_options o;
  puna_runtime_options_init(&o, sizeof o);
  o.threads = 2;
  o.allocate = Counted::allocate;
  o.release = Counted::release;
  o.allocator_user = &counted;
  o.memory_limit = limit;
  return o;
}

puna_train_options train_options(int32_t method) {
  puna_train_options o;
  puna_train_options_init(&o, sizeof o);
  o.method = method;
  o.batch = 4;
  o.length = 64;
  o.steps = 2;
  o.held_out_permille = 250;
  return o;
}

// A whole run with its output and a checkpoint that is gone back to.
Run run(const std::string& model_path, const puna_train_options& options, uint64_t limit, const std::string& out) {
  Counted counted;
  const puna_runtime_options host = runtime_options(counted, limit);
  puna_runtime* runtime = nullptr;
  puna_model* model = nullptr;
  puna_trainer* trainer = nullptr;
  puna_error error;
  puna_error_init(&error, sizeof error);
  REQUIRE(puna_runtime_create(&runtime, &host, nullptr) == PUNA_OK);
  const puna_source source = path_source(model_path);
  REQUIRE(puna_model_open_source(&model, runtime, &source, nullptr, nullptr) == PUNA_OK);
  REQUIRE(puna_trainer_create(&trainer, model, &options, nullptr) == PUNA_OK);
  for (int32_t row = 0; row < 24; ++row) {
    std::vector<int32_t> ids{1};
    for (int32_t i = 0; i < 63; ++i) ids.push_back(3 + (row * 31 + i * 7) % 500);
    REQUIRE(puna_trainer_add(trainer, 0, ids.data(), nullptr, ids.size(), nullptr) == PUNA_OK);
  }
  const std::string state = out + ".state";
  Run ran;
  ran.status = puna_trainer_run(trainer, nullptr, &error);
  if (!ran.status) ran.status = puna_trainer_save_state(trainer, state.c_str(), &error);
  if (!ran.status) ran.status = puna_trainer_restore(trainer, state.c_str(), &error);
  if (!ran.status) ran.status = puna_trainer_save(trainer, out.c_str(), nullptr, &error);
  ran.text = error.text;
  ran.peak = counted.peak;
  puna_trainer_destroy(trainer);
  puna_model_destroy(model);
  puna_runtime_destroy(runtime);
  CHECK(counted.now == 0);
  return ran;
}

puna_train_plan plan_of(const std::string& model_path, const puna_train_options& options, uint64_t budget = 0, uint64_t tokens = 0) {
  Counted counted;
  const puna_runtime_options host = runtime_options(counted, 0);
  puna_runtime* runtime = nullptr;
  REQUIRE(puna_runtime_create(&runtime, &host, nullptr) == PUNA_OK);
  const puna_source source = path_source(model_path);
  puna_train_plan plan{};
  const int32_t status = puna_plan_train(runtime, &source, nullptr, &options, budget, tokens, &plan, sizeof plan, nullptr);
  puna_runtime_destroy(runtime);
  REQUIRE(status == PUNA_OK);
  CHECK(counted.now == 0);
  return plan;
}

uint64_t counted_bytes(const puna_train_plan& p) { return p.copied_bytes + p.state_bytes + p.workspace_bytes; }

std::string quantized(const TempDir& dir) {
  const std::string out = (dir / "q4.gguf").string(), from = fixture("tiny/model.gguf").string();
  puna_quantize_options o;
  puna_quantize_options_init(&o, sizeof o);
  o.type = "q4_0";
  const puna_source source = path_source(from);
  REQUIRE(puna_quantize(nullptr, &source, out.c_str(), &o, nullptr, 0, nullptr) == PUNA_OK);
  return out;
}

}  // namespace

TEST_CASE("the forecast of training is the peak of the host's allocator, for LoRA, QLoRA and the whole model") {
  const TempDir dir;
  const std::string plain = fixture("tiny/model.gguf").string(), blocks = quantized(dir);
  struct Case {
    std::string path;
    int32_t method;
    uint32_t flags, patience;
  };
  int number = 0;
  for (const Case& one : {Case{plain, PUNA_TRAIN_LORA, 0, 0}, {blocks, PUNA_TRAIN_LORA, 0, 0}, {plain, PUNA_TRAIN_LORA, PUNA_TRAIN_NF4, 0},
                          {plain, PUNA_TRAIN_FULL, 0, 0}, {blocks, PUNA_TRAIN_FULL, 0, 0}, {plain, PUNA_TRAIN_LORA, 0, 1}}) {
    const std::string& path = one.path;
    CAPTURE(number);
    puna_train_options o = train_options(one.method);
    o.flags = one.flags;
    o.patience = one.patience;
    o.evaluate_every = one.patience ? 1 : 0;
    const puna_train_plan plan = plan_of(path, o);
    CHECK(plan.fits == 1);
    CHECK(plan.memory_bytes == plan.mapped_bytes + counted_bytes(plan));
    CHECK(plan.steps == 2);
    CHECK(plan.seconds_per_step > 0);
    CHECK(plan.seconds == doctest::Approx(2 * plan.seconds_per_step));
    const std::string out = (dir / ("out" + std::to_string(number++))).string();
    const Run free = run(path, o, 0, out);
    REQUIRE(free.status == PUNA_OK);
    const double ratio = static_cast<double>(counted_bytes(plan)) / static_cast<double>(free.peak);
    CHECK(ratio >= 1.0);
    CHECK(ratio <= 1.05);
    // A limit of exactly so much is enough; with less the run does not begin.
    CHECK(run(path, o, counted_bytes(plan), out + "2").status == PUNA_OK);
    const Run refused = run(path, o, counted_bytes(plan) - 1, out + "3");
    CHECK(refused.status == PUNA_E_MEMORY);
    CHECK(refused.text.find("training needs") != std::string::npos);
    CHECK_FALSE(fs::exists(out + "3"));
    CHECK_FALSE(fs::exists(out + "3.state"));
  }
}

TEST_CASE("a plan that does not fit proposes settings that do, and they do") {
  const TempDir dir;
  const std::string model = fixture("tiny/model.gguf").string();
  puna_train_options o = train_options(PUNA_TRAIN_FULL);
  o.length = 256;
  const uint64_t whole = plan_of(model, o).memory_bytes;
  int proposals = 0;
  bool changed_method = false;
  for (uint64_t budget = whole - 1; budget > whole / 20; budget = budget * 3 / 4) {
    CAPTURE(budget);
    const puna_train_plan plan = plan_of(model, o, budget);
    CHECK(plan.fits == 0);
    CHECK(plan.memory_bytes == whole);
    if (!plan.fit_memory_bytes) break;
    ++proposals;
    CHECK(plan.fit_memory_bytes <= budget);
    puna_train_options fit = o;
    fit.method = plan.fit_method, fit.batch = plan.fit_batch, fit.accumulate = plan.fit_accumulate, fit.length = plan.fit_length, fit.rank = plan.fit_rank;
    CHECK(fit.batch * fit.accumulate == o.batch * o.accumulate);
    CHECK(plan_of(model, fit, budget).memory_bytes == plan.fit_memory_bytes);
    changed_method |= fit.method != o.method;
  }
  CHECK(proposals >= 4);
  CHECK(changed_method);
}

TEST_CASE("steps and time of a plan follow the rows") {
  const std::string model = fixture("tiny/model.gguf").string();
  puna_train_options o = train_options(PUNA_TRAIN_LORA);
  o.steps = 0;
  const puna_train_plan none = plan_of(model, o);
  CHECK(none.steps == 0);
  CHECK(none.seconds == 0);
  o.epochs = 3;
  o.accumulate = 2;
  const puna_train_plan plan = plan_of(model, o, 0, 4 * 64 * 2 * 10 + 1);  // ten whole steps and a bit
  CHECK(plan.steps == 33);
  CHECK(plan.seconds > 0);
}
