// Files by UTF-8 name, read whole and written all or nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace cli {

std::filesystem::path utf8_path(const std::string& name);

// "-" is stdin. Throws Failed with the name and the system's reason.
std::string read_text(const std::string& name);

// Written beside its name and renamed by commit(); without it nothing is left behind.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& name);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, std::size_t size);
  void commit();

 private:
  [[noreturn]] void fail();
  std::string name_;
  std::filesystem::path target_, temporary_;
  std::ofstream out_;
  bool committed_ = false;
};

// A float32 matrix in NumPy's .npy format, row by row.
class NpyMatrix {
 public:
  NpyMatrix(const std::string& name, std::uint64_t rows, std::uint64_t columns);
  void append(const float* values, std::size_t count) { file_.write(values, count * sizeof(float)); }
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
};

}  // namespace cli
