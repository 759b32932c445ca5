#define DOCTEST_CONFIG_IMPLEMENT
#include "support.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

namespace puna_test {
namespace {

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// Tests run in parallel: a line is written at once, to a file opened for appending.
void note(const char* file, const std::string& line) {
  const std::string folder = environment("PUNA_RUN_DIR", "");
  if (folder.empty()) return;
  std::FILE* out = std::fopen((fs::path(folder) / file).string().c_str(), "ab");
  if (out == nullptr) return;
  std::fwrite(line.data(), 1, line.size(), out);
  std::fclose(out);
}

}  // namespace

fs::path fixture(std::string_view relative) {
  return fs::path(environment("PUNA_TEST_FIXTURES", PUNA_TEST_FIXTURES)) / fs::path(relative);
}

std::optional<fs::path> shared_data(std::string_view relative) {
  fs::path path = fs::path(environment("PUNA_SHARED_DATA", PUNA_TEST_SHARED)) / fs::path(relative);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  return path;
}

namespace {

std::atomic<unsigned> skipped_cases{0};
unsigned run_cases = 0;

// Counts the cases that were run, to tell a program that only skipped from one that passed.
struct Counter : doctest::IReporter {
  explicit Counter(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override { run_cases = stats.numTestCasesPassingFilters; }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("counter", 1, Counter);

constexpr int all_skipped = 77;  // ctest's SKIP_RETURN_CODE

}  // namespace

int run(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int failed = context.run();
  return failed == 0 && run_cases != 0 && skipped_cases == run_cases ? all_skipped : failed;
}

void skip(std::string_view reason) {
  ++skipped_cases;
  const doctest::TestCaseData* test = doctest::getContextOptions()->currentTest;
  std::string line = environment("PUNA_TEST_NAME", "test");
  if (test != nullptr) line += std::string(": ") + test->m_name;
  line += " - " + std::string(reason);
  MESSAGE("skipped: " << line);
  note("skipped.txt", line + "\n");
}

void covered_isa(std::string_view isa) { note("isa.txt", std::string(isa) + "\n"); }

bool long_tests() { return environment("PUNA_TEST_ALL", "0") == "1"; }

bool sanitized() { return !environment("PUNA_SANITIZE", "").empty(); }

std::vector<std::uint8_t> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string read_text(const fs::path& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

void write_file(const fs::path& path, const void* data, std::size_t size) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

void write_file(const fs::path& path, std::string_view text) { write_file(path, text.data(), text.size()); }

TempDir::TempDir() {
  static std::atomic<unsigned> count{0};
  std::random_device random;
  path_ = fs::temp_directory_path() /
      ("puna-test-" + std::to_string(random()) + "-" + std::to_string(count.fetch_add(1)));
  fs::create_directories(path_);
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace puna_test

int main(int argc, char** argv) { return puna_test::run(argc, argv); }
