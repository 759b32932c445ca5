#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <io.h>
#include <windows.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "file_system.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

int last_error() { return static_cast<int>(::GetLastError()); }

class Handle {
 public:
  explicit Handle(HANDLE handle = nullptr) : handle_(handle == INVALID_HANDLE_VALUE ? nullptr : handle) {}
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle() {
    if (handle_) ::CloseHandle(handle_);
  }
  HANDLE get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  HANDLE handle_;
};

class MappedFile final : public File {
 public:
  MappedFile(std::string name, std::string path, Handle mapping, void* view, std::size_t skip, std::uint64_t size)
      : mapping_(std::move(mapping)), view_(view) {
    name_ = std::move(name);
    path_ = std::move(path);
    data_ = static_cast<const std::byte*>(view) + skip;
    size_ = size;
  }
  ~MappedFile() override { ::UnmapViewOfFile(view_); }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    std::memcpy(dst, data_ + offset, n);
  }
  Handle mapping_;
  void* view_;
};

// For what cannot be mapped: no address space left.
class ReadFileFile final : public File {
 public:
  ReadFileFile(std::string name, std::string path, Handle handle, std::uint64_t offset, std::uint64_t size)
      : handle_(std::move(handle)), offset_(offset) {
    name_ = std::move(name);
    path_ = std::move(path);
    size_ = size;
  }

 private:
  void read_bytes(std::uint64_t offset, void* dst, std::size_t n) const override {
    auto* out = static_cast<std::byte*>(dst);
    std::uint64_t at = offset_ + offset;
    while (n != 0) {
      OVERLAPPED where{};
      where.Offset = static_cast<DWORD>(at);
      where.OffsetHigh = static_cast<DWORD>(at >> 32);
      DWORD got = 0;
      const auto step = static_cast<DWORD>(std::min<std::size_t>(n, std::size_t{1} << 30));
      if (!::ReadFile(handle_.get(), out, step, &got, &where))
        fail_io(name_, "reading at byte " + std::to_string(at), last_error());
      if (got == 0) fail_io(name_, "it ended at byte " + std::to_string(at) + ", earlier than its size said");
      out += got;
      at += got;
      n -= got;
    }
  }
  Handle handle_;
  std::uint64_t offset_;
};

std::wstring wide(const std::string& path) {
  const auto size = static_cast<int>(std::min<std::size_t>(path.size(), 1u << 20));
  const int n = ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, nullptr, 0);
  if (n <= 0) fail_io(quoted(path, 4096), "the path is not UTF-8");
  std::wstring text(static_cast<std::size_t>(n), L'\0');
  ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, text.data(), n);
  return text;
}

std::shared_ptr<const File> map_or_read(const std::string& name, const std::string& path, Handle handle,
                                        std::uint64_t offset, std::uint64_t size) {
  SYSTEM_INFO system{};
  ::GetSystemInfo(&system);
  const std::uint64_t skip = offset % system.dwAllocationGranularity;
  const std::uint64_t begin = offset - skip;
  if (size <= std::numeric_limits<std::size_t>::max() / 2 - skip) {
    Handle mapping(::CreateFileMappingW(handle.get(), nullptr, PAGE_READONLY, 0, 0, nullptr));
    void* view = !mapping ? nullptr
                          : ::MapViewOfFile(mapping.get(), FILE_MAP_READ, static_cast<DWORD>(begin >> 32),
                                            static_cast<DWORD>(begin), static_cast<SIZE_T>(size + skip));
    if (view) {
      try {
        return std::make_shared<MappedFile>(name, path, std::move(mapping), view, static_cast<std::size_t>(skip), size);
      } catch (...) {
        ::UnmapViewOfFile(view);
        throw;
      }
    }
  }
  return std::make_shared<ReadFileFile>(name, path, std::move(handle), offset, size);
}

}  // namespace

std::shared_ptr<const File> open_path(const std::string& path) {
  const std::wstring text = wide(path);
  const DWORD attributes = ::GetFileAttributesW(text.c_str());
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY))
    fail_io(path, "is a folder, not a regular file");
  Handle handle(::CreateFileW(text.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                              FILE_ATTRIBUTE_NORMAL, nullptr));
  if (!handle) fail_io(path, "cannot open", last_error());
  if (::GetFileType(handle.get()) != FILE_TYPE_DISK) fail_io(path, "is a device or a pipe, not a regular file");
  LARGE_INTEGER size{};
  if (!::GetFileSizeEx(handle.get(), &size)) fail_io(path, "cannot tell its size", last_error());
  if (size.QuadPart <= 0) fail_io(path, "is empty");
  return map_or_read(path, path, std::move(handle), 0, static_cast<std::uint64_t>(size.QuadPart));
}

std::shared_ptr<const File> open_descriptor(int number, std::uint64_t offset, std::uint64_t size) {
  const std::string name = "<descriptor " + std::to_string(number) + ">";
  const auto given = reinterpret_cast<HANDLE>(::_get_osfhandle(number));
  HANDLE copy = nullptr;
  if (given == INVALID_HANDLE_VALUE || !::DuplicateHandle(::GetCurrentProcess(), given, ::GetCurrentProcess(), &copy, 0,
                                                          FALSE, DUPLICATE_SAME_ACCESS))
    fail_io(name, "cannot duplicate it", last_error());
  Handle handle(copy);
  if (::GetFileType(handle.get()) != FILE_TYPE_DISK) fail_io(name, "is a device or a pipe, not a regular file");
  LARGE_INTEGER end{};
  if (!::GetFileSizeEx(handle.get(), &end)) fail_io(name, "cannot tell its size", last_error());
  const auto total = static_cast<std::uint64_t>(std::max<LONGLONG>(end.QuadPart, 0));
  if (total == 0) fail_io(name, "is empty");
  if (size == 0 && offset < total) size = total - offset;
  if (size == 0 || offset > total || size > total - offset)
    fail_io(name, std::to_string(size) + " bytes at byte " + std::to_string(offset) + " lie past its end (" +
                      std::to_string(total) + " bytes)");
  return map_or_read(name, {}, std::move(handle), offset, size);
}

}  // namespace puna
#endif
