#include "puna/infer/suffix_index.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace puna {
namespace {

std::uint32_t window_of(std::uint32_t context) {
  return std::bit_ceil(std::clamp<std::uint32_t>(context, 64, SuffixIndex::max_window));
}

}  // namespace

SuffixIndex::SuffixIndex(Memory& memory, std::uint32_t context)
    : tokens_(memory, window_of(context), "speculation: tokens"),
      before_(memory, window_of(context), "speculation: chains"),
      head_(memory, window_of(context), "speculation: heads"),
      mask_(window_of(context) - 1) {}

std::uint64_t SuffixIndex::bytes(std::uint32_t context) { return std::uint64_t{12} * window_of(context); }

void SuffixIndex::clear() {
  size_ = 0;
  if (!head_.empty()) std::memset(head_.data(), 0, head_.size() * sizeof(head_[0]));
}

std::uint32_t SuffixIndex::slot(std::uint64_t end) const {
  const std::uint32_t pair = static_cast<std::uint32_t>(token(end - 1)) * 0x9e3779b1u + static_cast<std::uint32_t>(token(end - 2)) * 0x85ebca77u;
  return (pair ^ (pair >> 15)) & static_cast<std::uint32_t>(mask_);
}

void SuffixIndex::append(std::int32_t id) {
  tokens_[size_ & mask_] = id;
  const std::uint64_t end = ++size_;
  if (end < 2) return;
  std::uint32_t& head = head_[slot(end)];
  // A head from more than 2^32 tokens ago looks young again: a proposal may then be poor, never wrong.
  const std::uint32_t back = static_cast<std::uint32_t>(end) - head;
  before_[end & mask_] = head != 0 && back <= mask_ ? back : 0;
  head = static_cast<std::uint32_t>(end);
}

std::uint32_t SuffixIndex::propose(std::span<std::int32_t> out, std::uint32_t& match) const {
  match = 0;
  if (size_ < min_match + 1 || out.empty()) return 0;
  const std::uint64_t oldest = size_ > mask_ ? size_ - mask_ : 0;
  std::uint64_t best = 0;
  std::uint64_t end = size_;
  for (int i = 0; i < chain_limit; ++i) {
    const std::uint32_t back = before_[end & mask_];
    if (back == 0 || end - oldest < back + min_match) break;
    end -= back;
    std::uint32_t length = 0;
    while (length < max_match && end - length > oldest && token(end - 1 - length) == token(size_ - 1 - length)) ++length;
    if (length <= match) continue;
    match = length;
    best = end;
    if (length == max_match) break;
  }
  if (match < min_match) return match = 0;
  const std::uint64_t period = size_ - best;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = i < period ? token(best + i) : out[i - period];
  return static_cast<std::uint32_t>(out.size());
}

}  // namespace puna
