// Stop strings, against a search over the whole text.
#include "puna/infer/stop.hpp"

#include <random>

#include "puna/base/status.hpp"
#include "support.hpp"

using puna::Code;
using puna::Error;
using puna::StopMatcher;

namespace {

struct Answer {
  std::string text;
  int found = -1;
  bool operator==(const Answer&) const = default;
};

// The match that ends first; the longest of those that end there. All text before it.
Answer search(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    Answer best;
    std::size_t length = 0;
    for (std::size_t k = 0; k < stops.size(); ++k) {
      const std::string& stop = stops[k];
      if (stop.size() > end || stop.size() <= length || text.compare(end - stop.size(), stop.size(), stop) != 0) continue;
      length = stop.size();
      best = {text.substr(0, end - length), static_cast<int>(k)};
    }
    if (best.found >= 0) return best;
  }
  return {text, -1};
}

bool whole_characters(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if ((lead & 0xc0) == 0x80 || n > text.size() - i) return false;
    for (std::size_t k = 1; k < n; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += n;
  }
  return true;
}

// The longest end of text that begins a stop string: exactly this must be held back.
std::size_t undecided(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t n = text.size(); n > 0; --n)
    for (const auto& stop : stops)
      if (stop.size() > n && stop.compare(0, n, text, text.size() - n, n) == 0) return n;
  return 0;
}

Answer feed_pieces(const std::vector<std::string>& pieces, const std::vector<std::string>& stops) {
  StopMatcher matcher(stops);
  Answer answer;
  std::string fed;
  for (const auto& piece : pieces) {
    std::string out;
    fed += piece;
    const bool stopped = matcher.feed(piece, out);
    CHECK(stopped == matcher.stopped());
    answer.text += out;
    if (stopped) break;
    if (whole_characters(fed)) CHECK(answer.text.size() == fed.size() - undecided(fed, stops));
    CHECK(whole_characters(out));
  }
  std::string out;
  matcher.flush(out);
  answer.text += out;
  answer.found = matcher.found();
  return answer;
}

std::vector<std::string> cut(const std::string& text, unsigned mask) {  // a border after byte i where bit i is set
  std::vector<std::string> pieces(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    pieces.back() += text[i];
    if (mask >> i & 1) pieces.emplace_back();
  }
  return pieces;
}

}  // namespace

TEST_CASE("every way to cut a text gives what searching it gives") {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases{
      {"hello END more", {"END"}},      {"aabaabaaab", {"aabaaab"}}, {"aabaaabaaac", {"aabaaac"}}, {"abcabd", {"abd", "bca"}},
      {"xabcdy", {"abcde", "bcd"}},     {"xabcdy", {"cd", "abcd"}},  {"no stop here", {"zzz", "here!"}},
      {"endless en", {"end."}},         {"é∀😀é∀", {"😀é"}},          {"a\n\nb", {"\n\n", "\nb"}},
      {"ååä", {"äå", "ä"}},             {"aaaa", {"a"}},             {"</s", {"</s>"}}};
  for (const auto& [text, stops] : cases) {
    REQUIRE(text.size() <= 14);
    const Answer expected = search(text, stops);
    for (unsigned mask = 0; mask < 1u << (text.size() - 1); ++mask) REQUIRE(feed_pieces(cut(text, mask), stops) == expected);
  }
}

TEST_CASE("random texts, stop strings and cuts") {
  std::mt19937 rng(11);
  const auto below = [&](unsigned n) { return static_cast<unsigned>(rng() % n); };
  const std::vector<std::string> letters{"a", "b", "a", "é", "🎈", "ê"};  // é and ê share their first byte
  const auto word = [&](unsigned longest) {
    std::string s;
    for (unsigned n = 1 + below(longest); n > 0; --n) s += letters[below(static_cast<unsigned>(letters.size()))];
    return s;
  };
  int found = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + below(4));
    for (auto& stop : stops) stop = word(5);
    const std::string text = word(12);
    const Answer expected = search(text, stops);
    found += expected.found >= 0;
    std::vector<std::string> pieces(1);
    for (const char byte : text) {
      pieces.back() += byte;
      if (below(3) == 0) pieces.emplace_back();
    }
    REQUIRE(feed_pieces(pieces, stops) == expected);
  }
  CHECK(found > 5000);
  CHECK(found < 19500);
}

TEST_CASE("after a stop nothing comes until reset") {
  StopMatcher m({"##", "!"});
  std::string out;
  CHECK_FALSE(m.feed("one #", out));
  CHECK(out == "one ");
  CHECK(m.held() == "#");
  CHECK(m.feed("# two", out));
  CHECK(m.found() == 0);
  CHECK(m.feed("three", out));
  m.flush(out);
  CHECK(out == "one ");
  m.reset();
  CHECK_FALSE(m.feed("four#", out));
  m.flush(out);
  CHECK(out == "one four#");
  CHECK_FALSE(m.feed("#", out));  // the flushed one no longer counts
}

TEST_CASE("without stop strings text passes, in whole characters") {
  StopMatcher m;
  std::string out;
  CHECK_FALSE(m.feed("a\xf0\x9f", out));
  CHECK(out == "a");
  CHECK_FALSE(m.feed("\x98\x80z", out));
  CHECK(out == "a\xf0\x9f\x98\x80z");
  CHECK_FALSE(m.feed("\xff\x80", out));  // bytes that are no character at all are not ours to judge
  m.flush(out);
  CHECK(out.size() == 8);
}

TEST_CASE("bad stop strings are refused") {
  const auto code_of = [](const std::vector<std::string>& stops) {
    try {
      StopMatcher m(stops);
    } catch (const Error& e) {
      return e.code();
    }
    return Code::ok;
  };
  CHECK(code_of({"ok", ""}) == Code::argument);
  CHECK(code_of({"\xc3"}) == Code::encoding);
  CHECK(code_of({"\xed\xa0\x80"}) == Code::encoding);
  CHECK(code_of({"\xc0\xaf"}) == Code::encoding);
  CHECK(code_of({std::string(70000, 'x')}) == Code::argument);
  CHECK(code_of({"ä", "ä"}) == Code::ok);
}
