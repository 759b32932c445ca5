// Where did the end of this text occur before? The tokens of one sequence, chained by a hash of their last two, as
// deflate chains its bytes: the longest of a few recent matches says what may come next.
#pragma once

#include <cstdint>
#include <span>

#include "puna/base/memory.hpp"

namespace puna {

class SuffixIndex {
 public:
  // Older tokens than this are forgotten, so that memory is bounded whatever the context.
  static constexpr std::uint32_t max_window = 1u << 16;
  static constexpr std::uint32_t min_match = 2, max_match = 32;

  SuffixIndex() = default;
  SuffixIndex(Memory& memory, std::uint32_t context);
  static std::uint64_t bytes(std::uint32_t context);  // 12 per token of the window, which is a power of two

  void clear();
  void append(std::int32_t id);
  std::uint64_t size() const { return size_; }

  // Tokens that followed the longest earlier match of the end of the text, at most out.size(); a match that runs into
  // the end repeats its period. Returns their number; `match` is the length of the match, up to max_match.
  std::uint32_t propose(std::span<std::int32_t> out, std::uint32_t& match) const;

 private:
  static constexpr int chain_limit = 16;
  std::uint32_t slot(std::uint64_t end) const;  // of the pair that ends before `end`
  std::int32_t token(std::uint64_t at) const { return tokens_[at & mask_]; }

  Buffer<std::int32_t> tokens_;   // a ring
  Buffer<std::uint32_t> before_;  // a ring: how far back the next older pair of the same slot ended; 0: none
  Buffer<std::uint32_t> head_;    // of each slot: the place after its youngest pair, in 32 bits; 0: none
  std::uint64_t size_ = 0;
  std::uint64_t mask_ = 0;
};

}  // namespace puna
