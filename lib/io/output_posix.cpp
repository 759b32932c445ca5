#ifndef _WIN32
#define _FILE_OFFSET_BITS 64  // files past 2 GiB on 32-bit machines

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "file_system.hpp"
#include "output_calls.hpp"
#include "output_file.hpp"

namespace puna {

const OutputCalls system_output_calls{::pwrite, ::fsync, ::close, ::rename};
const OutputCalls* output_calls = &system_output_calls;

namespace {

template <class Call>
auto again(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class PosixOutput final : public OutputFile {
 public:
  PosixOutput(int number, std::string shown) : number_(number), shown_(std::move(shown)) {}
  ~PosixOutput() override {
    if (number_ >= 0) ::close(number_);
  }

  void write(std::uint64_t offset, const std::byte* data, std::size_t n) override {
    while (n != 0) {
      const std::size_t step = std::min<std::size_t>(n, std::size_t{1} << 30);
      const ssize_t done = again([&] { return output_calls->pwrite(number_, data, step, static_cast<off_t>(offset)); });
      if (done <= 0)  // a device that takes nothing and says nothing is as full as one that says so
        fail_io(shown_, "cannot write " + std::to_string(n) + " bytes at byte " + std::to_string(offset),
                done < 0 ? errno : ENOSPC);
      start_writing(offset, static_cast<std::size_t>(done));
      data += done;
      offset += static_cast<std::uint64_t>(done);
      n -= static_cast<std::size_t>(done);
    }
  }

  void sync() override {
#ifdef F_FULLFSYNC
    if (::fcntl(number_, F_FULLFSYNC) == 0) return;  // fsync alone leaves it in the drive's own memory there
#endif
    if (again([&] { return output_calls->fsync(number_); }) != 0) fail_io(shown_, "cannot flush it to the disk", errno);
  }

  void close() override {
    // Never twice: after EINTR the number may be another thread's already.
    if (output_calls->close(std::exchange(number_, -1)) != 0 && errno != EINTR) fail_io(shown_, "cannot close it", errno);
  }

 private:
  // The disk works while the next rows are encoded, not only when all is flushed. A hint: errors show in sync().
  void start_writing([[maybe_unused]] std::uint64_t offset, [[maybe_unused]] std::size_t n) {
#if defined(__linux__) && defined(SYNC_FILE_RANGE_WRITE)
    const int error = errno;
    ::sync_file_range(number_, static_cast<off_t>(offset), static_cast<off_t>(n), SYNC_FILE_RANGE_WRITE);
    errno = error;
#endif
  }

  int number_;
  std::string shown_;
};

bool folder_is_empty(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (!folder) return false;
  bool empty = true;
  while (const dirent* entry = ::readdir(folder))
    empty = empty && (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0);
  ::closedir(folder);
  return empty;
}

}  // namespace

Standing standing(const std::string& path, std::string& kind) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return Standing::nothing;
  if (S_ISREG(status.st_mode)) return kind = "a file", Standing::file;
  if (S_ISDIR(status.st_mode)) return kind = "a folder", folder_is_empty(path) ? Standing::empty_folder : Standing::folder;
  kind = S_ISFIFO(status.st_mode) ? "a pipe" : S_ISSOCK(status.st_mode) ? "a socket" : "a device";
  return Standing::other;
}

std::string follow_links(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return path;
  char* real = ::realpath(path.c_str(), nullptr);
  if (!real) return path;  // it leads nowhere: replaced itself
  std::string text(real);
  ::free(real);
  return text;
}

std::unique_ptr<OutputFile> create_output(const std::string& path, const std::string& shown) {
  const int number = again([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666); });
  if (number < 0 && errno == EEXIST) return nullptr;
  if (number < 0) fail_io(shown, "cannot create it", errno);
  try {
    return std::make_unique<PosixOutput>(number, shown);
  } catch (...) {
    ::close(number);
    ::unlink(path.c_str());
    throw;
  }
}

bool create_folder(const std::string& path, const std::string& shown) {
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno != EEXIST) fail_io(shown, "cannot create it", errno);
  return false;
}

void rename_output(const std::string& from, const std::string& to, const std::string& shown) {
  if (again([&] { return output_calls->rename(from.c_str(), to.c_str()); }) != 0) fail_io(shown, "cannot put it in its place", errno);
}

void sync_folder(const std::string& path, const std::string& shown) {
  const int number = again([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY); });
  if (number < 0) return;  // a folder that may be written to but not read
  const int error = again([&] { return output_calls->fsync(number); }) == 0 ? 0 : errno;
  ::close(number);
  // Some file systems have no such call for folders, and need none.
  if (error != 0 && error != EINVAL && error != ENOTSUP && error != EROFS && error != EBADF)
    fail_io(shown, "cannot flush its folder to the disk", error);
}

void remove_output(const std::string& path) noexcept { ::unlink(path.c_str()); }

void remove_tree(const std::string& path) noexcept {
  try {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  } catch (...) {
    // No memory for the walk: the temporary folder stays, under a name that says what it is.
  }
}

std::uint64_t process_number() { return static_cast<std::uint64_t>(::getpid()); }

}  // namespace puna
#endif
