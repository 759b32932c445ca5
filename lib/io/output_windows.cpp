#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "file_system.hpp"
#include "output_file.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

namespace fs = std::filesystem;

int last_error() { return static_cast<int>(::GetLastError()); }

fs::path native(const std::string& path) {
  try {
    return fs::path(std::u8string(path.begin(), path.end()));
  } catch (const std::exception&) {
    fail_io(quoted(path, 4096), "the path is not UTF-8");
  }
}

class WindowsOutput final : public OutputFile {
 public:
  WindowsOutput(HANDLE handle, std::string shown) : handle_(handle), shown_(std::move(shown)) {}
  ~WindowsOutput() override {
    if (handle_) ::CloseHandle(handle_);
  }

  void write(std::uint64_t offset, const std::byte* data, std::size_t n) override {
    while (n != 0) {
      OVERLAPPED where{};
      where.Offset = static_cast<DWORD>(offset);
      where.OffsetHigh = static_cast<DWORD>(offset >> 32);
      const auto step = static_cast<DWORD>(std::min<std::size_t>(n, std::size_t{1} << 28));
      DWORD done = 0;
      const bool fine = ::WriteFile(handle_, data, step, &done, &where) != 0;
      if (!fine || done == 0)
        fail_io(shown_, "cannot write " + std::to_string(n) + " bytes at byte " + std::to_string(offset),
                fine ? ERROR_DISK_FULL : last_error());
      data += done;
      offset += done;
      n -= done;
    }
  }

  void sync() override {
    if (!::FlushFileBuffers(handle_)) fail_io(shown_, "cannot flush it to the disk", last_error());
  }
  void close() override {
    if (!::CloseHandle(std::exchange(handle_, nullptr))) fail_io(shown_, "cannot close it", last_error());
  }

 private:
  HANDLE handle_;
  std::string shown_;
};

}  // namespace

Standing standing(const std::string& path, std::string& kind) {
  std::error_code error;
  const fs::path there = native(path);
  const fs::file_status status = fs::status(there, error);
  if (!fs::exists(status)) return Standing::nothing;
  if (fs::is_regular_file(status)) return kind = "a file", Standing::file;
  if (!fs::is_directory(status)) return kind = "a device", Standing::other;
  kind = "a folder";
  return fs::is_empty(there, error) && !error ? Standing::empty_folder : Standing::folder;
}

std::string follow_links(const std::string& path) {
  std::error_code error;
  const fs::path there = native(path);
  if (!fs::is_symlink(fs::symlink_status(there, error))) return path;
  const fs::path real = fs::canonical(there, error);
  if (error) return path;
  const std::u8string text = real.u8string();
  return {text.begin(), text.end()};
}

std::unique_ptr<OutputFile> create_output(const std::string& path, const std::string& shown) {
  const fs::path there = native(path);
  HANDLE handle = ::CreateFileW(there.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (handle == INVALID_HANDLE_VALUE && ::GetLastError() == ERROR_FILE_EXISTS) return nullptr;
  if (handle == INVALID_HANDLE_VALUE) fail_io(shown, "cannot create it", last_error());
  try {
    return std::make_unique<WindowsOutput>(handle, shown);
  } catch (...) {
    ::CloseHandle(handle);
    ::DeleteFileW(there.c_str());
    throw;
  }
}

bool create_folder(const std::string& path, const std::string& shown) {
  if (::CreateDirectoryW(native(path).c_str(), nullptr)) return true;
  if (::GetLastError() != ERROR_ALREADY_EXISTS) fail_io(shown, "cannot create it", last_error());
  return false;
}

void rename_output(const std::string& from, const std::string& to, const std::string& shown) {
  const fs::path target = native(to);
  ::RemoveDirectoryW(target.c_str());  // an empty folder, which MoveFileEx does not replace; anything else stays
  if (!::MoveFileExW(native(from).c_str(), target.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
    fail_io(shown, "cannot put it in its place", last_error());
}

void sync_folder(const std::string&, const std::string&) {}  // MOVEFILE_WRITE_THROUGH has done it

void remove_output(const std::string& path) noexcept {
  try {
    ::DeleteFileW(native(path).c_str());
  } catch (...) {
    // No memory for the name: the temporary file stays, under a name that says what it is.
  }
}

void remove_tree(const std::string& path) noexcept {
  try {
    std::error_code ignored;
    fs::remove_all(native(path), ignored);
  } catch (...) {
  }
}

std::uint64_t process_number() { return ::GetCurrentProcessId(); }

}  // namespace puna
#endif
