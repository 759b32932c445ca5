// A bounds-checked little-endian cursor over a File. Mapped files are read in place, others through a small window.
// Every refusal names the file, the field, the offset and the value.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/io/file.hpp"

namespace puna {

static_assert(std::endian::native == std::endian::little, "every stored format here is read in place, little-endian");

// A little-endian scalar at an address of any alignment.
template <class T>
T load_le(const std::byte* p) {
  static_assert(std::is_arithmetic_v<T>);
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

class Reader {
 public:
  static constexpr std::size_t window_bytes = 1 << 16;
  static constexpr std::uint64_t max_text = 1 << 28;

  // The file must outlive the reader.
  explicit Reader(const File& file, std::uint64_t position = 0) : file_(file), base_(file.data()), end_(file.size()) {
    seek(position, "start");
  }

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return end_ - position_; }
  const File& file() const { return file_; }

  void seek(std::uint64_t position, const char* field) {
    if (position > end_) refuse(field, "lies past the end of the file (" + std::to_string(end_) + " bytes)", position);
    position_ = position;
  }
  void skip(std::uint64_t n, const char* field) {
    if (n > remaining()) cut_short(field, n);
    position_ += n;
  }

  // A scalar of the file.
  template <class T>
  T get(const char* field) {
    return load_le<T>(take(sizeof(T), field));
  }

  // n bytes in place, or in the window until the next call. n at most window_bytes unless the file is mapped.
  const std::byte* take(std::size_t n, const char* field) {
    if (n > remaining()) cut_short(field, n);
    const std::byte* p = base_ ? base_ + position_ : through_window(n, field);
    position_ += n;
    return p;
  }

  // n bytes as text; the length is checked before anything is allocated for it.
  std::string text(std::uint64_t n, const char* field) {
    if (n > remaining()) cut_short(field, n);
    if (n > max_text)
      refuse(field, "its " + std::to_string(n) + " bytes are more than the " + std::to_string(max_text) +
                        " that a text may have");
    std::string s(static_cast<std::size_t>(n), '\0');
    file_.read(position_, s.data(), s.size());
    position_ += n;
    return s;
  }

  // What stands before the field in messages, such as `metadata key "general.name"`.
  void set_context(std::string context) { context_ = std::move(context); }

  [[noreturn]] void refuse(std::string_view field, const std::string& why) const { refuse(field, why, position_); }
  [[noreturn]] void refuse(std::string_view field, const std::string& why, std::uint64_t offset) const;

 private:
  [[noreturn]] void cut_short(const char* field, std::uint64_t wanted) const;
  const std::byte* through_window(std::size_t n, const char* field);

  const File& file_;
  const std::byte* base_;
  std::uint64_t end_;
  std::uint64_t position_ = 0;
  std::string context_;
  std::vector<std::byte> window_;
  std::uint64_t window_start_ = 0;
};

}  // namespace puna
