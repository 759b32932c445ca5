// Where a long text may be cut without changing a single id. Private to lib/text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "puna/io/weight_source.hpp"

namespace puna {

// sentencepiece only ever merges neighbours into a piece of the vocabulary. Where two characters stand side by side in
// no piece, no merge can cross, so both sides are encoded independently of each other. (An unused piece is taken apart
// again by the split that was seen last anywhere in the text; but all its occurrences were merged in the same order, for
// within them the order does not depend on what is outside, so it is the same split.)
class CutPoints {
 public:
  explicit CutPoints(const VocabData& vocab);

  // The first place at or after `from` where text may be cut; text.size() when there is none.
  std::size_t next(std::string_view text, std::size_t from) const;

 private:
  void add_piece(std::string_view piece);
  bool known(std::uint32_t c) const;

  std::vector<std::uint64_t> pairs_;      // sorted: characters that are neighbours in some piece
  std::vector<std::uint32_t> singles_;    // sorted: characters that are pieces
  bool possible_ = true;
  bool unknown_fuses_ = false;  // without byte pieces neighbouring unknown characters become one token
};

}  // namespace puna
