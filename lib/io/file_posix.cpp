#ifndef _WIN32
#define _FILE_OFFSET_BITS 64  // files past 2 GiB on 32-bit machines

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "file_system.hpp"

namespace puna {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

class MappedFile final : public File {
 public:
  // mapping: from a page border; the file starts `skip` bytes into it.
  MappedFile(std::string name, void* mapping, std::size_t mapped, std::size_t skip)
      : mapping_(mapping), mapped_(mapped) {
    name_ = std::move(name);
    data_ = static_cast<const std::byte*>(mapping) + skip;
    size_ = mapped - skip;
  }
  ~MappedFile() override { ::munmap(mapping_, mapped_); }
  void set_path(const std::string& path) { path_ = path; }
  void give_back(const std::byte* from, std::size_t n) const noexcept override {
    // Whole pages only. The mapping is shared and read-only, so a page that is touched again comes from the file.
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<std::uintptr_t>(from) + page - 1) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(from + n) / page * page;
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    std::copy_n(data_ + offset, n, static_cast<std::byte*>(dst));
  }
  void* mapping_;
  std::size_t mapped_;
};

// For what cannot be mapped: no address space left (32-bit machines), or a device.
class PreadFile final : public File {
 public:
  PreadFile(std::string name, Descriptor descriptor, std::uint64_t offset, std::uint64_t size)
      : descriptor_(std::move(descriptor)), offset_(offset) {
    name_ = std::move(name);
    size_ = size;
  }
  void set_path(const std::string& path) { path_ = path; }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    auto* out = static_cast<std::byte*>(dst);
    std::uint64_t at = offset_ + offset;
    while (n != 0) {
      const std::size_t step = std::min<std::size_t>(n, std::size_t{1} << 30);
      const ssize_t got = ::pread(descriptor_.get(), out, step, static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_io(name_, "reading at byte " + std::to_string(at), errno);
      if (got == 0) fail_io(name_, "it ended at byte " + std::to_string(at) + ", earlier than its size said");
      out += got;
      at += static_cast<std::uint64_t>(got);
      n -= static_cast<std::size_t>(got);
    }
  }
  Descriptor descriptor_;
  std::uint64_t offset_;
};

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode)) return "a character device";
  return "no regular file";
}

std::shared_ptr<const File> map_or_read(const std::string& name, Descriptor descriptor, std::uint64_t offset,
                                        std::uint64_t size, bool mappable, const std::string& path) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t skip = offset % page;
  if (mappable && size <= std::numeric_limits<std::size_t>::max() / 2 - skip) {
    const auto mapped = static_cast<std::size_t>(size + skip);
    void* mapping = ::mmap(nullptr, mapped, PROT_READ, MAP_SHARED, descriptor.get(), static_cast<off_t>(offset - skip));
    if (mapping != MAP_FAILED) {
      try {
        auto file = std::make_shared<MappedFile>(name, mapping, mapped, static_cast<std::size_t>(skip));
        file->set_path(path);
        return file;
      } catch (const std::bad_alloc&) {
        ::munmap(mapping, mapped);
        throw;
      }
    }
  }
  auto file = std::make_shared<PreadFile>(name, std::move(descriptor), offset, size);
  file->set_path(path);
  return file;
}

}  // namespace

std::shared_ptr<const File> open_path(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for a regular file.
  int number = -1;
  do number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (number < 0 && errno == EINTR);
  if (number < 0) fail_io(path, "cannot open", errno);
  Descriptor descriptor(number);
  struct stat status{};
  if (::fstat(number, &status) != 0) fail_io(path, "cannot tell its size", errno);
  if (!S_ISREG(status.st_mode)) fail_io(path, std::string("is ") + kind_of(status.st_mode) + ", not a regular file");
  if (status.st_size <= 0) fail_io(path, "is empty");
  return map_or_read(path, std::move(descriptor), 0, static_cast<std::uint64_t>(status.st_size), true, path);
}

std::shared_ptr<const File> open_descriptor(int number, std::uint64_t offset, std::uint64_t size) {
  const std::string name = "<descriptor " + std::to_string(number) + ">";
  Descriptor descriptor(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  if (descriptor.get() < 0) fail_io(name, "cannot duplicate it", errno);
  struct stat status{};
  if (::fstat(descriptor.get(), &status) != 0) fail_io(name, "cannot tell its size", errno);
  const std::string range = std::to_string(size) + " bytes at byte " + std::to_string(offset);
  if (offset > std::numeric_limits<std::int64_t>::max() || size > std::numeric_limits<std::int64_t>::max() - offset)
    fail_io(name, range + " are past what a file can have");
  const bool regular = S_ISREG(status.st_mode);
  if (regular) {
    const auto total = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
    if (total == 0) fail_io(name, "is empty");
    if (size == 0 && offset < total) size = total - offset;
    if (size == 0 || offset > total || size > total - offset)
      fail_io(name, range + " lie past its end (" + std::to_string(total) + " bytes)");
  } else if (S_ISDIR(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || size == 0) {
    fail_io(name, std::string("is ") + kind_of(status.st_mode) + ", not a regular file");
  }
  return map_or_read(name, std::move(descriptor), offset, size, regular, {});
}

}  // namespace puna
#endif
