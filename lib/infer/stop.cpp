#include "puna/infer/stop.hpp"

#include <algorithm>

#include "puna/base/status.hpp"

namespace puna {
namespace {

// Bytes of the character that this lead byte begins; 0 for a byte that begins none.
std::size_t character_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u; }

// Bytes at the end that begin a character without finishing it.
std::size_t unfinished(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const char byte = text[text.size() - back];
    if (continues(byte)) continue;
    return character_length(static_cast<unsigned char>(byte)) > back ? back : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t n = character_length(lead);
    if (n == 0 || n > text.size() - i) return false;
    for (std::size_t k = 1; k < n; ++k)
      if (!continues(text[i + k])) return false;
    const auto second = n > 1 ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f))
      return false;  // overlong, a surrogate, or above U+10FFFF
    i += n;
  }
  return true;
}

}  // namespace

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  patterns_.reserve(stops.size());
  for (const std::string& stop : stops) {
    const std::string name = "stop string " + std::to_string(patterns_.size());
    if (stop.empty()) fail(Code::argument, name + " is empty");
    if (stop.size() > 65536) fail(Code::argument, name + " has " + std::to_string(stop.size()) + " bytes, more than 65536");
    if (!is_utf8(stop)) fail(Code::encoding, name + " is not UTF-8");
    longest = std::max(longest, stop.size());
    Pattern pattern{stop, std::vector<std::uint32_t>(stop.size(), 0)};
    for (std::size_t i = 1; i < stop.size(); ++i) {
      std::uint32_t border = pattern.fallback[i - 1];
      while (border > 0 && stop[border] != stop[i]) border = pattern.fallback[border - 1];
      pattern.fallback[i] = border + (stop[border] == stop[i] ? 1u : 0u);
    }
    patterns_.push_back(std::move(pattern));
  }
  held_.reserve(longest + 4);
}

void StopMatcher::advance(Pattern& pattern, char byte) {
  while (pattern.matched > 0 && pattern.text[pattern.matched] != byte)
    pattern.matched = pattern.fallback[pattern.matched - 1];
  if (pattern.text[pattern.matched] == byte) ++pattern.matched;
}

bool StopMatcher::feed(std::string_view text, std::string& out) {
  if (stopped()) return true;
  held_.append(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::size_t length = 0;
    for (std::size_t k = 0; k < patterns_.size(); ++k) {
      advance(patterns_[k], text[i]);
      if (patterns_[k].matched == patterns_[k].text.size() && patterns_[k].matched > length) {
        length = patterns_[k].matched;
        found_ = static_cast<std::int32_t>(k);
      }
    }
    if (!stopped()) continue;
    out.append(held_, 0, held_.size() - (text.size() - 1 - i) - length);
    held_.clear();
    return true;
  }
  std::size_t hold = 0;  // the longest end that begins a stop string
  for (const Pattern& pattern : patterns_) hold = std::max(hold, pattern.matched);
  const std::size_t safe = held_.size() - hold;
  const std::size_t ready = safe - unfinished(std::string_view(held_).substr(0, safe));
  out.append(held_, 0, ready);
  held_.erase(0, ready);
  return false;
}

void StopMatcher::flush(std::string& out) {
  if (!stopped()) out.append(held_);
  held_.clear();
  for (Pattern& pattern : patterns_) pattern.matched = 0;
}

void StopMatcher::reset() {
  held_.clear();
  found_ = -1;
  for (Pattern& pattern : patterns_) pattern.matched = 0;
}

}  // namespace puna
