#include "puna/io/atomic_file.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "file_system.hpp"
#include "output_file.hpp"
#include "puna/base/status.hpp"

namespace puna {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 20;
constexpr std::size_t longest_name = 200;  // of 255, so that there is room for the suffix

// Differs between processes, threads and calls; the exclusive creation settles what chance leaves.
std::uint64_t some_number() {
  static std::atomic<std::uint64_t> calls{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  std::uint64_t z = static_cast<std::uint64_t>(now) ^ process_number() << 40 ^ calls.fetch_add(0x9E3779B97F4A7C15u);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

std::string temporary_name(const std::string& target) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string name = path_name(target);
  if (name.size() > longest_name) {
    std::size_t cut = longest_name;
    while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
    name.resize(cut);
  }
  name += ".tmp-";
  std::uint64_t number = some_number();
  for (int i = 0; i < 12; ++i, number >>= 4) name += digits[number & 15];
  return path_join(path_folder(target), name);
}

// Tries names until one is free.
template <class Create>
std::string create_beside(const std::string& target, const std::string& shown, Create create) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string name = temporary_name(target);
    if (create(name)) return name;
  }
  fail_io(shown, "no free name for its temporary file");
}

std::string without_slashes_at_end(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void check_free(const std::string& target, const std::string& shown) {
  std::string kind;
  switch (standing(target, kind)) {
    case Standing::nothing:
    case Standing::empty_folder: return;
    case Standing::folder: fail_io(shown, "is a folder that is not empty");
    default: fail_io(shown, "is " + kind + ", not a free name for a folder");
  }
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) fail(Code::io, "an empty path names no file");
  if (path_.find('\0') != std::string::npos) fail(Code::io, "a path with a NUL byte names no file");
  target_ = follow_links(path_);
  std::string kind;
  const Standing there = standing(target_, kind);
  if (there != Standing::nothing && there != Standing::file) fail_io(path_, "is " + kind + ", not a file to be replaced");
  if (target_.back() == '/') fail_io(path_, "names a folder, not a file");
  buffer_.reserve(buffer_bytes);
  temporary_ = create_beside(target_, path_, [&](const std::string& name) {
    file_ = create_output(name, path_);
    return file_ != nullptr;
  });
}

AtomicFile::~AtomicFile() {
  file_.reset();
  if (!temporary_.empty()) remove_output(temporary_);
}

void AtomicFile::flush() {
  if (!file_ || failed_) fail(Code::state, path_ + ": nothing more can be written to it");
  if (buffer_.empty()) return;
  failed_ = true;
  file_->write(position_ - buffer_.size(), buffer_.data(), buffer_.size());
  failed_ = false;
  buffer_.clear();
}

void AtomicFile::write(const void* data, std::size_t n) {
  const auto* from = static_cast<const std::byte*>(data);
  while (n != 0) {
    if (buffer_.size() == buffer_bytes || (buffer_.empty() && n >= buffer_bytes)) flush();
    if (buffer_.empty() && n >= buffer_bytes) {  // large ones go straight through
      failed_ = true;
      file_->write(position_, from, n);
      failed_ = false;
      position_ += n;
      return;
    }
    const std::size_t step = std::min(n, buffer_bytes - buffer_.size());
    buffer_.insert(buffer_.end(), from, from + step);
    position_ += step;
    from += step;
    n -= step;
  }
}

void AtomicFile::pad_to(std::uint64_t multiple) {
  static constexpr std::byte zeros[4096] = {};
  std::uint64_t missing = multiple == 0 ? 0 : (multiple - position_ % multiple) % multiple;
  while (missing != 0) {
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(missing, sizeof zeros));
    write(zeros, step);
    missing -= step;
  }
}

void AtomicFile::seek(std::uint64_t position) {
  if (position == position_) return;
  flush();
  position_ = position;
}

void AtomicFile::commit() {
  flush();
  failed_ = true;
  file_->sync();
  file_->close();
  rename_output(temporary_, target_, path_);
  temporary_.clear();
  file_.reset();
  sync_folder(path_folder(target_), path_);
}

AtomicFolder::AtomicFolder(std::string path) : path_(without_slashes_at_end(std::move(path))) {
  if (path_.empty()) fail(Code::io, "an empty path names no folder");
  if (path_.find('\0') != std::string::npos) fail(Code::io, "a path with a NUL byte names no folder");
  target_ = follow_links(path_);
  check_free(target_, path_);
  temporary_ = create_beside(target_, path_, [&](const std::string& name) { return create_folder(name, path_); });
}

AtomicFolder::~AtomicFolder() {
  if (!temporary_.empty()) remove_tree(temporary_);
}

std::string AtomicFolder::member(const std::string& name) const {
  if (temporary_.empty()) fail(Code::state, path_ + ": the folder is complete");
  return path_join(temporary_, name);
}

void AtomicFolder::commit() {
  if (temporary_.empty()) fail(Code::state, path_ + ": the folder is complete");
  check_free(target_, path_);
  sync_folder(temporary_, path_);
  rename_output(temporary_, target_, path_);
  temporary_.clear();
  sync_folder(path_folder(target_), path_);
}

}  // namespace puna
