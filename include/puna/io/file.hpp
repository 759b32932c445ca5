// Where bytes come from: a path (mapped), a buffer (borrowed), a descriptor (mapped where it can be) or a callback.
//
// A mapped file must not shrink while it is open: touching a page that is gone is a signal, which no library can catch
// for its host. A file that others may cut short is better given in memory or through a callback.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "puna/base/memory.hpp"

namespace puna {

class File {
 public:
  virtual ~File() = default;
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& name() const { return name_; }  // for messages: the path, or "<memory>" and the like
  std::uint64_t size() const { return size_; }
  // All bytes in place when they are mapped or in memory; null when they must be read.
  const std::byte* data() const { return data_; }
  // These bytes of data() will not be needed soon: where they are mapped, the memory they take may go to others.
  virtual void give_back(const std::byte* from, std::size_t n) const noexcept { (void)from, (void)n; }
  // The UTF-8 path that it was opened by, for what lies beside it; empty when it has none.
  const std::string& path() const { return path_; }
  // Copies [offset, offset + n) or throws Error(io); a range past the end is Error(format) naming the file.
  void read(std::uint64_t offset, void* dst, std::size_t n) const;

  // A UTF-8 path, on Windows too. Error(io) for what is absent, empty, closed to us or no regular file.
  static std::shared_ptr<const File> open(const std::string& path);
  // Borrowed: the caller keeps the bytes alive for as long as the file is.
  static std::shared_ptr<const File> from_memory(std::span<const std::byte> bytes, std::string name = "<memory>");
  // The descriptor is duplicated; bytes [offset, offset + size) of it, size 0 for up to its end.
  static std::shared_ptr<const File> from_descriptor(int descriptor, std::uint64_t offset, std::uint64_t size);
  // read: n bytes from offset to dst; non-zero stops with Error(callback) and that value.
  using ReadFn = std::int32_t (*)(void* user, std::uint64_t offset, void* dst, std::size_t n);
  static std::shared_ptr<const File> from_callback(void* user, ReadFn read, std::uint64_t size,
                                                   std::string name = "<callback>");
  // A window of another file, such as a member of a zip.
  static std::shared_ptr<const File> slice(std::shared_ptr<const File> file, std::uint64_t offset, std::uint64_t size,
                                           std::string name);

 protected:
  // [offset, offset + n) lies inside the file, n > 0.
  virtual void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const = 0;
  std::string name_;
  std::string path_;
  std::uint64_t size_ = 0;
  const std::byte* data_ = nullptr;
};

bool path_is_directory(const std::string& path);
bool path_exists(const std::string& path);
bool same_file(const std::string& a, const std::string& b);  // by whatever names; false where one is not there
std::string path_join(const std::string& folder, const std::string& name);
// The folder that a path lies in ("." when it names none), and its last part.
std::string path_folder(const std::string& path);
std::string path_name(const std::string& path);
// Names of the regular files in a folder, sorted.
std::vector<std::string> list_folder(const std::string& path);

}  // namespace puna
