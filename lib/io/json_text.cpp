#include "json_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "puna/io/printable.hpp"

namespace puna::io {

std::string json_quoted(std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : as_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += '\\', out += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (byte < 0x20) out += "\\u00", out += hex[byte >> 4], out += hex[byte & 15];
    else out += c;
  }
  return out + '"';
}

std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  char text[64];
  const auto narrow = static_cast<float>(value);
  const auto end = static_cast<double>(narrow) == value ? std::to_chars(text, text + sizeof text, narrow).ptr
                                                        : std::to_chars(text, text + sizeof text, value).ptr;
  std::string out(text, end);
  // 10000 as 1e+04 is a number, but nobody writes it so.
  if (value == std::floor(value) && std::abs(value) < 1e15) out = std::to_string(static_cast<std::int64_t>(value));
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

std::string JsonText::str(int depth) const {
  auto members = members_;
  std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::string indent(static_cast<std::size_t>(depth) * 2 + 2, ' ');
  std::string out = "{";
  for (std::size_t i = 0; i < members.size(); ++i)
    out += (i ? ",\n" : "\n") + indent + json_quoted(members[i].first) + ": " + members[i].second;
  return out + "\n" + indent.substr(2) + "}";
}

}  // namespace puna::io
