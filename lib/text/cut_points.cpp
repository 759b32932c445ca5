#include "cut_points.hpp"

#include <algorithm>

#include "puna/text/vocab.hpp"

namespace puna {
namespace {

// The character at text[at] as a number, a space as U+2581. The text is valid UTF-8.
std::uint32_t character(std::string_view text, std::size_t at, std::size_t& length) {
  length = utf8_length(text, at);
  std::uint32_t c = static_cast<unsigned char>(text[at]);
  if (c == ' ') return 0x2581;
  if (length > 1) c &= 0xffu >> (length + 1);
  for (std::size_t i = 1; i < length; ++i) c = c << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fu);
  return c;
}

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

bool in_text(std::int32_t type) { return type == 1 || type == 4 || type == 5; }

}  // namespace

CutPoints::CutPoints(const VocabData& vocab) : unknown_fuses_(!has_byte_pieces(vocab)) {
  // Stripping spaces at both ends makes the ends of a part special.
  possible_ = !vocab.remove_extra_whitespaces;
  if (!possible_) return;
  for (std::size_t i = 0; i < vocab.pieces.size(); ++i)
    if (in_text(vocab.types[i])) add_piece(vocab.pieces[i]);
  std::sort(pairs_.begin(), pairs_.end());
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
  pairs_.shrink_to_fit();
  std::sort(singles_.begin(), singles_.end());
}

void CutPoints::add_piece(std::string_view piece) {
  std::size_t length = 0;
  std::uint32_t left = character(piece, 0, length);
  std::size_t at = length;
  if (at == piece.size()) singles_.push_back(left);
  while (at < piece.size()) {
    const std::uint32_t right = character(piece, at, length);
    pairs_.push_back(pair_key(left, right));
    left = right;
    at += length;
  }
}

bool CutPoints::known(std::uint32_t c) const { return std::binary_search(singles_.begin(), singles_.end(), c); }

std::size_t CutPoints::next(std::string_view text, std::size_t from) const {
  if (!possible_ || from >= text.size()) return text.size();
  while (from > 0 && (static_cast<unsigned char>(text[from]) & 0xc0u) == 0x80u) --from;  // to a character's first byte
  std::size_t length = 0;
  std::uint32_t left = character(text, from, length);
  for (std::size_t at = from + length; at < text.size(); at += length) {
    const std::uint32_t right = character(text, at, length);
    const bool joined = std::binary_search(pairs_.begin(), pairs_.end(), pair_key(left, right));
    if (!joined && (!unknown_fuses_ || known(left) || known(right))) return at;
    left = right;
  }
  return text.size();
}

}  // namespace puna
