#include "puna/infer/cache.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace puna {
namespace {

std::uint64_t page_count(std::uint32_t sequences, std::uint64_t tokens) {
  // Every sequence may end inside a page of its own.
  return (tokens + page_tokens - 1) / page_tokens + (sequences - 1);
}

std::uint32_t pages_for(std::uint64_t positions) { return static_cast<std::uint32_t>((positions + page_tokens - 1) / page_tokens); }

}  // namespace

std::uint64_t KvCache::bytes(const CacheLayout& layout, std::uint32_t sequences, std::uint64_t tokens) {
  return size_product(layout.page_bytes(), page_count(sequences, tokens));
}

KvCache::KvCache(Memory& memory, const CacheLayout& layout, std::uint32_t context, std::uint32_t sequences, std::uint64_t tokens)
    : layout_(layout),
      context_(context),
      page_bytes_(layout.page_bytes()),
      slab_(memory, bytes(layout, sequences, tokens), "key-value cache", Raw{}) {
  const auto pages = static_cast<std::uint32_t>(page_count(sequences, tokens));
  references_.resize(pages);
  for (std::uint32_t i = pages; i-- > 0;) free_.push_back(i);
  sequences_.resize(sequences);
  copies_.reserve(sequences);
  for (Sequence& s : sequences_) {  // so that nothing grows between token in and token out
    s.ids.reserve(context);
    s.pages.reserve(pages_for(context));
  }
}

std::uint32_t KvCache::pages_missing(const Sequence& s, std::uint32_t count) const {
  if (count == 0) return 0;
  const auto have = static_cast<std::uint32_t>(s.pages.size());
  const std::uint32_t need = pages_for(static_cast<std::uint64_t>(s.ids.size()) + count);
  // The page that the next position falls into may be shared with a fork.
  const std::size_t at = s.ids.size() / page_tokens;
  const bool copies = at < have && references_[index(s.pages[at])] > 1;
  return (need > have ? need - have : 0) + (copies ? 1 : 0);
}

void KvCache::reserve(std::span<const std::uint32_t> counts) {
  std::uint64_t missing = 0;
  for (std::uint32_t i = 0; i < counts.size(); ++i) {
    const Sequence& s = sequences_[i];
    if (counts[i] > context_ - s.ids.size())
      fail(Code::context_full, "sequence " + std::to_string(i) + " holds " + std::to_string(s.ids.size()) + " tokens, " +
                                   std::to_string(counts[i]) + " more are past its context of " + std::to_string(context_));
    missing += pages_missing(s, counts[i]);
  }
  if (missing > free_.size())
    fail(Code::context_full, "the cache has room for " + std::to_string(free_.size() * page_tokens) + " more tokens, " +
                                 std::to_string(missing * page_tokens) + " are needed");
  for (std::uint32_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    Sequence& s = sequences_[i];
    const std::size_t at = s.ids.size() / page_tokens;
    if (at < s.pages.size() && references_[index(s.pages[at])] > 1) {
      copies_.push_back({i, at, s.pages[at]});
      drop_page(s.pages[at]);  // one that others hold, so it stays as it is until they write: after the copies
      s.pages[at] = take_page();
    }
    const std::uint32_t need = pages_for(static_cast<std::uint64_t>(s.ids.size()) + counts[i]);
    while (s.pages.size() < need) s.pages.push_back(take_page());
  }
}

void KvCache::copy(std::uint32_t tile) const {
  const Copy& c = copies_[tile / tiles_of_a_page()];
  const std::size_t first = tile % tiles_of_a_page() * copy_tile;
  std::memcpy(sequences_[c.sequence].pages[c.at] + first, c.from + first, std::min(copy_tile, page_bytes_ - first));
}

void KvCache::unreserve() {
  for (const Copy& c : copies_) {
    std::byte*& page = sequences_[c.sequence].pages[c.at];
    drop_page(page);
    ++references_[index(c.from)];
    page = c.from;
  }
  copies_.clear();
  for (std::uint32_t s = 0; s < sequences(); ++s) truncate(s, length(s));
}

std::byte* KvCache::take_page() {
  const std::uint32_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  return slab_.data() + page * page_bytes_;
}

void KvCache::drop_page(std::byte* page) {
  if (--references_[index(page)] == 0) free_.push_back(index(page));
}

void KvCache::truncate(std::uint32_t sequence, std::uint32_t length) {
  Sequence& s = sequences_[sequence];
  s.ids.resize(length);
  while (s.pages.size() > pages_for(length)) {
    drop_page(s.pages.back());
    s.pages.pop_back();
  }
}

void KvCache::fork(std::uint32_t from, std::uint32_t to) {
  if (from == to) return;
  truncate(to, 0);
  Sequence& target = sequences_[to];
  target.ids = sequences_[from].ids;
  for (std::byte* page : sequences_[from].pages) {
    ++references_[index(page)];
    target.pages.push_back(page);
  }
}

}  // namespace puna
