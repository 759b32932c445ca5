// The 70B shape through the quantizer: tensors made as they are read, a sink that only counts, a memory limit, and the
// peak of the whole process.
#ifndef _WIN32
#include <sys/resource.h>
#endif

#include "made_weights.hpp"
#include "puna/slim/quantize.hpp"
#include "support.hpp"

using namespace puna_test;

namespace {

constexpr std::uint64_t two_gigabytes = 2'000'000'000;

// Cheap to make: a few halves, over and over.
class Large final : public puna::WeightSource {
 public:
  explicit Large(std::uint64_t layers) : made_({"large", 8192, 28672, layers, 64, 8, 32000, false}) {
    for (int p = 0; p < puna::part_count; ++p) {
      infos_[p] = *made_.find(static_cast<puna::Part>(p), 0);
      infos_[p].type = puna::DType::f16;
    }
    row_.resize(28672);
    for (std::size_t i = 0; i < row_.size(); ++i) row_[i] = static_cast<std::uint16_t>(0x2400 + i * 37 % 1024);
  }
  std::string format() const override { return "made"; }
  std::string name() const override { return "70b"; }
  const puna::Hyperparameters& hyperparameters() const override { return made_.hyperparameters(); }
  const puna::WeightInfo* find(puna::Part part, std::uint32_t) const override {
    return &infos_[static_cast<int>(part)];
  }
  const std::byte* borrow(puna::Part, std::uint32_t) const override { return nullptr; }
  void copy(puna::Part part, std::uint32_t, std::uint64_t, std::uint64_t count, std::byte* dst) const override {
    const std::size_t bytes = infos_[static_cast<int>(part)].columns * 2;
    for (std::uint64_t r = 0; r < count; ++r) std::memcpy(dst + r * bytes, row_.data(), bytes);
  }
  puna::VocabSource vocab() const override { return {}; }
  std::vector<puna::MetadataEntry> metadata() const override { return {}; }
  std::vector<std::shared_ptr<const puna::File>> files() const override { return {}; }

 private:
  Made made_;
  puna::WeightInfo infos_[puna::part_count];
  std::vector<std::uint16_t> row_;
};

class Counting final : public puna::WeightSink {
 public:
  explicit Counting(std::uint64_t& bytes) : bytes_(bytes) {}
  void begin(const puna::ModelDescription&, std::span<const puna::SinkTensor>) override {}
  void write(const std::byte*, std::size_t bytes) override { bytes_ += bytes; }
  void finish() override {}
  std::uint64_t bytes_written() const override { return bytes_; }

 private:
  std::uint64_t& bytes_;
};

std::uint64_t peak_bytes() {
#ifdef _WIN32
  return 0;
#else
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
#endif
}

void pass_through(std::uint64_t layers, const char* mix) {
  CAPTURE(layers);
  puna::RuntimeOptions runtime;
  runtime.threads = 2;
  runtime.memory_limit = two_gigabytes;
  puna::QuantizeOptions options;
  options.mix = mix ? &puna::find_mix(mix) : nullptr;
  std::uint64_t bytes = 0;
  puna::Quantizer quantizer(std::make_shared<puna::Runtime>(runtime), std::make_shared<const Large>(layers),
                            std::make_unique<Counting>(bytes), options);
  while (!quantizer.step({}, nullptr)) {
  }
  CHECK(bytes == quantizer.total());
  MESSAGE(layers << " layers of the 70B shape to " << std::string(mix ? mix : "f16") << ": " << bytes / 1'000'000
                 << " MB out, peak " << peak_bytes() / 1'000'000 << " MB");
  if (!sanitized()) CHECK(peak_bytes() < two_gigabytes);
}

}  // namespace

TEST_CASE("the largest tensors of the 70B shape are quantized in under 2 GB") {
  const puna::QuantizePlan plan =
      puna::plan_quantize(Large(80), {&puna::find_mix("q4_k_m"), false, false, {}, std::nullopt, {}, 0}, 64);
  CHECK(plan.parameters > 68'000'000'000u);
  CHECK(plan.buffer_bytes < two_gigabytes / 20);  // on 64 threads, too
  if (sanitized()) PUNA_SKIP("minutes under a sanitizer");
  pass_through(1, nullptr);
  pass_through(1, "q8_0");
}

TEST_CASE("the whole 70B shape is converted, and a layer of it made q4_k_m, in under 2 GB") {
  if (!long_tests() || sanitized()) PUNA_SKIP("long: ./dev test --all");
  pass_through(80, nullptr);
  pass_through(1, "q4_k_m");
}
