#include "merge_engine.hpp"

#include <algorithm>
#include <queue>

#include "puna/base/status.hpp"
#include "puna/text/vocab.hpp"

namespace puna {

MergeEngine::MergeEngine(const VocabData& vocab, const std::string& name)
    : vocab_(vocab), rules_(*vocab.merge_rules), has_bytes_(has_byte_pieces(vocab)) {
  const std::size_t n = vocab.pieces.size();
  std::unordered_map<std::string_view, std::int32_t> by_piece;
  by_piece.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::string_view piece = vocab.pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    by_piece.emplace(piece, id);
    if (utf8_length(piece, 0) == piece.size()) characters_.emplace(piece, id);
    if (vocab.types[i] == 6) byte_ids_[byte_of_piece(piece)] = id;
  }
  merges_.reserve(rules_.merges.size());
  std::uint32_t rank = 0;
  for (const auto& [left, right] : rules_.merges) {
    const auto valid = [n](std::int32_t id) { return id >= 0 && static_cast<std::size_t>(id) < n; };
    if (!valid(left) || !valid(right))
      fail(Code::format, name + ": model.merges[" + std::to_string(rank) + "] is of pieces that do not exist");
    const auto found = by_piece.find(vocab.pieces[static_cast<std::size_t>(left)] + vocab.pieces[static_cast<std::size_t>(right)]);
    if (found == by_piece.end())
      fail(Code::format, name + ": model.merges[" + std::to_string(rank) + "] makes a piece that is not in the vocabulary");
    merges_[key(left, right)] = {rank, found->second};  // of two of the same pair the later counts
    ++rank;
  }
}

void MergeEngine::encode(std::string_view text, bool space_prefix, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  const bool begins_with_space = text[0] == ' ' || text.substr(0, space_symbol.size()) == space_symbol;
  std::string normalized;
  normalized.reserve(text.size() + text.size() / 4 + space_symbol.size());
  if (space_prefix && !(rules_.prefix_unless_space && begins_with_space)) normalized += space_symbol;
  for (const char c : text) c == ' ' ? normalized.append(space_symbol) : normalized.append(1, c);
  for (std::size_t at = 0; at < normalized.size();) {
    std::size_t end = normalized.size();
    if (rules_.split_words) end = std::min(end, normalized.find(space_symbol, at + 1));
    const std::size_t from = ids.size();
    spell(std::string_view(normalized).substr(at, end - at), ids);
    merge(ids, from);
    at = end;
  }
}

void MergeEngine::spell(std::string_view word, std::vector<std::int32_t>& ids) const {
  bool after_unknown = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8_length(word, at));
    at += character.size();
    const auto found = characters_.find(character);
    if (found != characters_.end()) {
      ids.push_back(found->second);
    } else if (has_bytes_) {
      for (const char byte : character) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    } else if (vocab_.unknown >= 0) {
      if (!after_unknown || !rules_.fuse_unknown) ids.push_back(vocab_.unknown);
      after_unknown = true;
      continue;
    }
    after_unknown = false;
  }
}

// Always the pair of the lowest rank, the leftmost of equals, until no pair merges.
void MergeEngine::merge(std::vector<std::int32_t>& ids, std::size_t from) const {
  struct Candidate {
    std::uint32_t rank;
    std::int32_t at;
    std::int32_t left, right;  // as they were: either may have merged since
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  const auto n = static_cast<std::int32_t>(ids.size() - from);
  if (n < 2) return;
  std::vector<Symbol> symbols(static_cast<std::size_t>(n));
  for (std::int32_t i = 0; i < n; ++i)
    symbols[static_cast<std::size_t>(i)] = {ids[from + static_cast<std::size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1};
  std::priority_queue<Candidate> queue;
  const auto symbol = [&](std::int32_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  const auto offer = [&](std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    const auto found = merges_.find(key(symbol(left).id, symbol(right).id));
    if (found != merges_.end()) queue.push({found->second.rank, left, symbol(left).id, symbol(right).id});
  };
  for (std::int32_t i = 0; i + 1 < n; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbol(best.at);
    if (left.id != best.left || left.next < 0 || symbol(left.next).id != best.right) continue;
    Symbol& right = symbol(left.next);
    left.id = merges_.at(key(best.left, best.right)).result;
    right.id = -1;  // never a candidate's
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = best.at;
    offer(left.previous, best.at);
    offer(best.at, left.next);
  }
  std::size_t out = from;
  for (std::int32_t i = 0; i >= 0; i = symbol(i).next) ids[out++] = symbol(i).id;
  ids.resize(out);
}

}  // namespace puna
