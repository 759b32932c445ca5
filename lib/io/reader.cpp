#include "puna/io/reader.hpp"

namespace puna {

void Reader::refuse(std::string_view field, const std::string& why, std::uint64_t offset) const {
  std::string text = file_.name() + ": ";
  if (!context_.empty()) text += context_ + ": ";
  text += field;
  text += " at byte " + std::to_string(offset) + ": " + why;
  fail(Code::format, text);
}

void Reader::cut_short(const char* field, std::uint64_t wanted) const {
  refuse(field, "needs " + std::to_string(wanted) + " bytes, the file ends after " + std::to_string(remaining()));
}

const std::byte* Reader::through_window(std::size_t n, const char* field) {
  if (n > window_bytes) fail(Code::internal, file_.name() + ": " + field + " is read through too small a window");
  if (position_ < window_start_ || position_ + n > window_start_ + window_.size()) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(window_bytes, remaining()));
    window_.clear();  // so that a read that fails leaves nothing to be taken for the file's
    window_.resize(size);
    try {
      file_.read(position_, window_.data(), size);
    } catch (...) {
      window_.clear();
      throw;
    }
    window_start_ = position_;
  }
  return window_.data() + (position_ - window_start_);
}

}  // namespace puna
