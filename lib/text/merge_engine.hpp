// BPE by ranked pairs, as Hugging Face's tokenizers do it, for a tokenizer.json. Private to lib/text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "puna/io/weight_source.hpp"

namespace puna {

class MergeEngine {
 public:
  // A checked vocabulary with merge_rules, which must outlive this. Error(format) for a merge of pieces that do not exist.
  MergeEngine(const VocabData& vocab, const std::string& name);

  void encode(std::string_view text, bool space_prefix, std::vector<std::int32_t>& ids) const;  // appends

 private:
  struct Merge {
    std::uint32_t rank;
    std::int32_t result;
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;
  };
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  void spell(std::string_view word, std::vector<std::int32_t>& ids) const;
  void merge(std::vector<std::int32_t>& ids, std::size_t from) const;

  const VocabData& vocab_;
  const MergeRules& rules_;
  bool has_bytes_;
  std::int32_t byte_ids_[256];
  std::unordered_map<std::string_view, std::int32_t> characters_;
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace puna
