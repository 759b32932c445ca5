#include "puna/io/file.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "file_system.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

namespace fs = std::filesystem;

class MemoryFile final : public File {
 public:
  MemoryFile(std::span<const std::byte> bytes, std::string name) {
    name_ = std::move(name);
    size_ = bytes.size();
    data_ = bytes.data();
  }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    std::memcpy(dst, data_ + offset, n);
  }
};

class CallbackFile final : public File {
 public:
  CallbackFile(void* user, ReadFn function, std::uint64_t size, std::string name) : user_(user), read_(function) {
    name_ = std::move(name);
    size_ = size;
  }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    const std::int32_t stop = read_(user_, offset, dst, n);
    if (stop == 0) return;
    throw Error(Code::callback,
                name_ + ": the read callback returned " + std::to_string(stop) + " for " + std::to_string(n) +
                    " bytes at byte " + std::to_string(offset),
                stop);
  }
  void* user_;
  ReadFn read_;
};

class SliceFile final : public File {
 public:
  SliceFile(std::shared_ptr<const File> file, std::uint64_t offset, std::uint64_t size, std::string name)
      : file_(std::move(file)), offset_(offset) {
    name_ = std::move(name);
    size_ = size;
    if (file_->data()) data_ = file_->data() + offset;
  }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    file_->read(offset_ + offset, dst, n);
  }
  std::shared_ptr<const File> file_;
  std::uint64_t offset_;
};

// UTF-8 to the system's own path; on Windows a path that is not UTF-8 throws inside.
fs::path native(const std::string& path) {
  try {
    return fs::path(std::u8string(path.begin(), path.end()));
  } catch (const std::exception&) {
    fail_io(quoted(path, 4096), "the path is not UTF-8");
  }
}

std::string utf8(const fs::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

std::size_t last_separator(const std::string& path) {
#ifdef _WIN32
  return path.find_last_of("/\\");
#else
  return path.rfind('/');
#endif
}

}  // namespace

void fail_io(const std::string& name, const std::string& what) { fail(Code::io, name + ": " + what); }

void fail_io(const std::string& name, const std::string& what, int error) {
  fail_io(name, what + ": " + std::system_category().message(error));
}

void File::read(std::uint64_t offset, void* dst, std::size_t n) const {
  if (offset > size_ || n > size_ - offset)
    fail(Code::format, name_ + ": " + std::to_string(n) + " bytes at byte " + std::to_string(offset) +
                           " lie past its end (" + std::to_string(size_) + " bytes)");
  if (n != 0) read_bytes(offset, dst, n);
}

std::shared_ptr<const File> File::open(const std::string& path) {
  if (path.empty()) fail(Code::io, "the path is empty");
  if (path.find('\0') != std::string::npos) fail(Code::io, quoted(path, 4096) + ": the path has a NUL in it");
  return open_path(path);
}

std::shared_ptr<const File> File::from_memory(std::span<const std::byte> bytes, std::string name) {
  if (bytes.empty()) fail(Code::io, name + ": it is empty");
  if (!bytes.data()) fail(Code::argument, name + ": " + std::to_string(bytes.size()) + " bytes at a null pointer");
  return std::make_shared<MemoryFile>(bytes, std::move(name));
}

std::shared_ptr<const File> File::from_descriptor(int descriptor, std::uint64_t offset, std::uint64_t size) {
  return open_descriptor(descriptor, offset, size);
}

std::shared_ptr<const File> File::from_callback(void* user, ReadFn read, std::uint64_t size, std::string name) {
  if (!read) fail(Code::argument, name + ": the read callback is null");
  if (size == 0) fail(Code::io, name + ": it is empty");
  return std::make_shared<CallbackFile>(user, read, size, std::move(name));
}

std::shared_ptr<const File> File::slice(std::shared_ptr<const File> file, std::uint64_t offset, std::uint64_t size,
                                        std::string name) {
  if (offset > file->size() || size > file->size() - offset)
    fail(Code::format, name + ": " + std::to_string(size) + " bytes at byte " + std::to_string(offset) +
                           " lie past the end of " + file->name() + " (" + std::to_string(file->size()) + " bytes)");
  return std::make_shared<SliceFile>(std::move(file), offset, size, std::move(name));
}

bool path_is_directory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(native(path), error);
}

bool path_exists(const std::string& path) {
  std::error_code error;
  return fs::exists(native(path), error);
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return fs::equivalent(native(a), native(b), error) && !error;
}

std::string path_join(const std::string& folder, const std::string& name) {
  if (folder.empty()) return name;
  return last_separator(folder) == folder.size() - 1 ? folder + name : folder + "/" + name;
}

std::string path_folder(const std::string& path) {
  const std::size_t at = last_separator(path);
  if (at == std::string::npos) return ".";
  return path.substr(0, at == 0 ? 1 : at);
}

std::string path_name(const std::string& path) {
  const std::size_t at = last_separator(path);
  return at == std::string::npos ? path : path.substr(at + 1);
}

std::vector<std::string> list_folder(const std::string& path) {
  std::error_code error;
  fs::directory_iterator it(native(path), error);
  if (error) fail_io(path, "cannot list the folder: " + error.message());
  std::vector<std::string> names;
  for (const fs::directory_iterator end; it != end; it.increment(error)) {
    if (error) fail_io(path, "cannot list the folder: " + error.message());
    std::error_code unreadable;
    if (it->is_regular_file(unreadable)) names.push_back(utf8(it->path().filename()));
  }
  if (error) fail_io(path, "cannot list the folder: " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace puna
