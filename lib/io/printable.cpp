#include "puna/io/printable.hpp"

namespace puna {

std::size_t utf8_length(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const std::size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || bytes.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates and what lies past U+10FFFF.
  if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f)) return 0;
  if ((lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) > 0x8f)) return 0;
  return n;
}

std::string quoted(std::string_view bytes, std::size_t max) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text = "\"";
  std::size_t i = 0;
  while (i < bytes.size() && i < max) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    const std::size_t n = utf8_length(bytes.substr(i));
    if (n == 0 || c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
      text += "\\x";
      text += digits[c >> 4];
      text += digits[c & 15];
      ++i;
    } else {
      text.append(bytes, i, n);
      i += n;
    }
  }
  text += '"';
  if (i < bytes.size()) text += "... (" + std::to_string(bytes.size()) + " bytes)";
  return text;
}

std::string as_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t n = bytes[i] == '\0' ? 0 : utf8_length(bytes.substr(i));
    if (n == 0) {
      text += "\xEF\xBF\xBD";
      ++i;
    } else {
      text.append(bytes, i, n);
      i += n;
    }
  }
  return text;
}

}  // namespace puna
