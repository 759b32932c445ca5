#include "files.hpp"

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>

#include "cli.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

std::string reason() { return errno ? std::strerror(errno) : "unknown reason"; }

std::string read_stdin() {
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, n);
  if (std::ferror(stdin)) throw Failed("stdin: cannot read: " + reason());
  return text;
}

}  // namespace

std::filesystem::path utf8_path(const std::string& name) {
  return {std::u8string(name.begin(), name.end())};
}

std::string read_text(const std::string& name) {
  if (name == "-") return read_stdin();
  const std::filesystem::path path = utf8_path(name);
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) throw Failed(name + ": cannot read: it is a folder");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Failed(name + ": cannot read: " + reason());
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) throw Failed(name + ": cannot read: " + reason());
  return text;
}

AtomicFile::AtomicFile(const std::string& name) : name_(name), target_(utf8_path(name)) {
  std::error_code error;
  if (const auto real = std::filesystem::canonical(target_, error); !error) target_ = real;  // a link stays, its file is replaced
  if (const auto there = std::filesystem::status(target_, error); std::filesystem::exists(there) && !std::filesystem::is_regular_file(there))
    throw Failed(name_ + ": cannot write: it is no regular file, and would be replaced");
  temporary_ = target_;
  temporary_ += fmt::format(".{:08x}.tmp", std::random_device{}());
  errno = 0;
  out_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!out_) fail();
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  out_.close();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::write(const void* data, std::size_t size) {
  errno = 0;
  if (!out_.write(static_cast<const char*>(data), static_cast<std::streamsize>(size))) fail();
}

void AtomicFile::commit() {
  errno = 0;
  out_.close();
  if (!out_) fail();
  std::error_code error;
  std::filesystem::rename(temporary_, target_, error);
  if (error) throw Failed(name_ + ": cannot write: " + error.message());
  committed_ = true;
}

void AtomicFile::fail() { throw Failed(name_ + ": cannot write: " + reason()); }

NpyMatrix::NpyMatrix(const std::string& name, std::uint64_t rows, std::uint64_t columns) : file_(name) {
  std::string header = fmt::format("{{'descr': '{}f4', 'fortran_order': False, 'shape': ({}, {}), }}",
                                   std::endian::native == std::endian::little ? '<' : '>', rows, columns);
  constexpr std::size_t prefix = 10;  // magic, version 1.0, length
  header.append(64 - (prefix + header.size() + 1) % 64, ' ');
  header += '\n';
  const auto size = static_cast<unsigned>(header.size());
  const unsigned char begin[prefix] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<unsigned char>(size & 255),
                                       static_cast<unsigned char>(size >> 8)};
  file_.write(begin, prefix);
  file_.write(header.data(), header.size());
}

}  // namespace cli
