// The key-value cache of many sequences: pages of 64 positions, shared between forks and copied on write. All memory is
// taken when it is made.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "puna/base/memory.hpp"
#include "puna/nn/attention.hpp"

namespace puna {

class KvCache {
 public:
  // context: positions a sequence may hold; tokens: positions of all sequences together.
  KvCache(Memory& memory, const CacheLayout& layout, std::uint32_t context, std::uint32_t sequences, std::uint64_t tokens);
  static std::uint64_t bytes(const CacheLayout& layout, std::uint32_t sequences, std::uint64_t tokens);

  const CacheLayout& layout() const { return layout_; }
  std::uint32_t sequences() const { return static_cast<std::uint32_t>(sequences_.size()); }
  std::uint32_t context() const { return context_; }
  std::uint32_t length(std::uint32_t sequence) const { return static_cast<std::uint32_t>(sequences_[sequence].ids.size()); }
  std::span<const std::int32_t> ids(std::uint32_t sequence) const { return sequences_[sequence].ids; }
  std::byte* const* pages(std::uint32_t sequence) const { return sequences_[sequence].pages.data(); }

  // Makes `counts[s]` more positions of every sequence s writable, or throws Error(context_full) with nothing changed.
  // Pages that were shared are copied before anything is written: by the caller, who runs the tiles of copying() in any
  // order and calls copied(). A page may be tens of megabytes, so this is work like any other.
  void reserve(std::span<const std::uint32_t> counts);
  std::uint32_t copying() const { return static_cast<std::uint32_t>(copies_.size() * tiles_of_a_page()); }
  void copy(std::uint32_t tile) const;
  void copied() { copies_.clear(); }
  // Takes back what was reserved and not appended; pages whose copies did not end are shared again.
  void unreserve();
  // Positions that were computed: they are now part of the sequence.
  void append(std::uint32_t sequence, std::int32_t id) { sequences_[sequence].ids.push_back(id); }
  void truncate(std::uint32_t sequence, std::uint32_t length);
  void fork(std::uint32_t from, std::uint32_t to);

 private:
  struct Sequence {
    std::vector<std::int32_t> ids;
    std::vector<std::byte*> pages;
  };
  struct Copy {
    std::uint32_t sequence;
    std::size_t at;   // which of its pages
    std::byte* from;
  };
  static constexpr std::size_t copy_tile = 256 << 10;
  std::size_t tiles_of_a_page() const { return (page_bytes_ + copy_tile - 1) / copy_tile; }
  std::uint32_t index(const std::byte* page) const { return static_cast<std::uint32_t>((page - slab_.data()) / page_bytes_); }
  std::uint32_t pages_missing(const Sequence& s, std::uint32_t count) const;
  std::byte* take_page();
  void drop_page(std::byte* page);

  CacheLayout layout_;
  std::uint32_t context_;
  std::size_t page_bytes_;
  Buffer<std::byte> slab_;
  std::vector<std::uint32_t> references_;  // of each page
  std::vector<std::uint32_t> free_;        // a stack of pages
  std::vector<Sequence> sequences_;
  std::vector<Copy> copies_;
};

}  // namespace puna
