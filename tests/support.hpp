// What every test needs: files, folders, and a way to skip that is not silent.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace puna_test {

namespace fs = std::filesystem;

// A committed file under tests/fixtures.
fs::path fixture(std::string_view relative);

// A file of the shared data folder ($PUNA_SHARED_DATA), or nothing where it is absent.
std::optional<fs::path> shared_data(std::string_view relative);

// Notes that the running test case was skipped and why; ./dev test lists these at its end. Return after calling.
void skip(std::string_view reason);

// Notes that this run executed the kernels of an ISA; ./dev test prints which paths a run really covered.
void covered_isa(std::string_view isa);

// True under ./dev test --all.
bool long_tests();

// True when the programs run under a sanitizer: for tests that time or count.
bool sanitized();

std::vector<std::uint8_t> read_file(const fs::path& path);
std::string read_text(const fs::path& path);
void write_file(const fs::path& path, const void* data, std::size_t size);
void write_file(const fs::path& path, std::string_view text);

// A folder that goes away with the object.
class TempDir {
public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(std::string_view name) const { return path_ / fs::path(name); }

private:
  fs::path path_;
};

}  // namespace puna_test

// Leaves the test case, noting why.
#define PUNA_SKIP(reason)            \
  do {                             \
    ::puna_test::skip(reason);   \
    return;                      \
  } while (0)

// fs::path variable = that shared file; leaves the test case where it is absent.
#define PUNA_SHARED(variable, relative)                                                \
  const auto variable##_found = ::puna_test::shared_data(relative);                  \
  if (!variable##_found) PUNA_SKIP(std::string("needs shared data: ") + (relative)); \
  const std::filesystem::path variable = *variable##_found
