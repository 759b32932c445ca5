// Stop strings in text that arrives in pieces.
//
// Text that may be the beginning of a stop string is held back until it is decided; all other text goes out at once,
// in whole UTF-8 characters. The stop string itself is never emitted, nor anything after it. When several end at the
// same byte, the longest counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace puna {

class StopMatcher {
 public:
  StopMatcher() = default;
  // Error(argument) for an empty string, Error(encoding) for one that is not UTF-8. Duplicates are fine.
  explicit StopMatcher(const std::vector<std::string>& stops);

  // Appends to `out` what can be shown now; true when a stop string was found (then, and from then on, nothing more).
  bool feed(std::string_view text, std::string& out);
  // The end of the text: what was held back is no stop string after all.
  void flush(std::string& out);
  void reset();

  bool stopped() const noexcept { return found_ >= 0; }
  std::int32_t found() const noexcept { return found_; }  // which stop string, by its place in the list; -1: none yet
  std::string_view held() const noexcept { return held_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<std::uint32_t> fallback;  // [i]: longest proper border of the first i + 1 bytes (Knuth, Morris, Pratt)
    std::size_t matched = 0;
  };
  static void advance(Pattern& pattern, char byte);

  std::vector<Pattern> patterns_;
  std::string held_;
  std::int32_t found_ = -1;
};

}  // namespace puna
