// Text to ids and back. Immutable: any number of threads may share one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "puna/io/weight_source.hpp"
#include "puna/text/vocab.hpp"

namespace puna {

struct EncodeOptions {
  bool bos = false;
  bool eos = false;
  // Literal control pieces in the text ("<s>") become their ids; without it they are spelt out like any other text.
  bool parse_special = false;
  // A space before the text (and, by prefix_after_special, before what follows a parsed special token: Meta's and
  // llama.cpp's rule; Hugging Face's with legacy=false does not). Unset: as the vocabulary says.
  std::optional<bool> space_prefix;
  bool prefix_after_special = true;
};

struct DecodeOptions {
  bool skip_special = true;      // control tokens are invisible; else spelt as their piece
  bool first_piece_rule = true;  // the first piece loses its leading space
};

// Bits of Tokenizer::attributes; the numbers are the ABI's.
enum TokenAttribute : std::uint32_t {
  token_normal = 1u << 0,
  token_unknown = 1u << 1,
  token_control = 1u << 2,
  token_user_defined = 1u << 3,
  token_unused = 1u << 4,
  token_byte = 1u << 5,
};

enum class InfillOrder { prefix_suffix_middle, suffix_prefix_middle };

class Tokenizer {
 public:
  static constexpr std::size_t max_text_bytes = std::size_t{64} << 20;

  // From checked or unchecked arrays; `name` is for messages.
  static std::shared_ptr<const Tokenizer> create(VocabData vocab, const std::string& name,
                                                 VocabOrigin origin = VocabOrigin::gguf);
  // From what a weight source says. model_vocab: rows of the embedding, which a llama2.c tokenizer.bin needs to know
  // its own size (0: all of the file). Null for Kind::none.
  static std::shared_ptr<const Tokenizer> create(const VocabSource& source, std::uint64_t model_vocab = 0);
  // A bare tokenizer.model, tokenizer.json or tokenizer.bin, told by its bytes.
  static std::shared_ptr<const Tokenizer> open(std::shared_ptr<const File> file);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Error(encoding) names the offset of the first byte that is not UTF-8; Error(argument) a text over max_text_bytes.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // Code Llama's infilling prompt, BOS included; Error(unsupported) without its four tokens.
  std::vector<std::int32_t> encode_infill(std::string_view prefix, std::string_view suffix,
                                          InfillOrder order = InfillOrder::prefix_suffix_middle) const;
  // By sentencepiece's rules. Error(argument) names an id out of range.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;

  std::int32_t size() const { return static_cast<std::int32_t>(vocab_.pieces.size()); }
  bool valid(std::int32_t id) const { return id >= 0 && id < size(); }
  // These take a valid id, or throw Error(argument).
  std::string_view piece(std::int32_t id) const { return vocab_.pieces[checked(id)]; }
  float score(std::int32_t id) const { return vocab_.scores[checked(id)]; }
  PieceType type(std::int32_t id) const { return static_cast<PieceType>(vocab_.types[checked(id)]); }
  std::uint32_t attributes(std::int32_t id) const { return 1u << (attribute_bit(type(id))); }
  // Ids that are text of their own, -1 where the vocabulary has none.
  std::optional<std::int32_t> find(std::string_view piece) const;
  std::int32_t bos() const { return vocab_.bos; }
  std::int32_t eos() const { return vocab_.eos; }
  std::int32_t unknown() const { return vocab_.unknown; }
  std::int32_t pad() const { return vocab_.pad; }
  std::int32_t prefix() const { return vocab_.prefix; }
  std::int32_t suffix() const { return vocab_.suffix; }
  std::int32_t middle() const { return vocab_.middle; }
  std::int32_t eot() const { return vocab_.eot; }
  bool add_bos() const { return vocab_.add_bos; }  // what the file wants of a caller who has no opinion
  bool add_eos() const { return vocab_.add_eos; }
  // True when decoding drops the first piece's leading space.
  bool strips_first_space() const { return vocab_.add_space_prefix || vocab_.remove_extra_whitespaces; }

  const VocabData& vocab() const { return vocab_; }
  const std::string& name() const { return name_; }
  const std::string& hash() const { return hash_; }

 private:
  struct Engine;
  Tokenizer(VocabData vocab, std::string name);
  std::size_t checked(std::int32_t id) const;
  static constexpr std::uint32_t attribute_bit(PieceType type) {
    return static_cast<std::uint32_t>(type) - 1u;
  }
  void encode_fragment(std::string_view text, bool space_prefix, std::vector<std::int32_t>& ids) const;
  // The longest piece with one of these attributes at text[at]: its id, or -1.
  std::int32_t special_at(std::string_view text, std::size_t at, std::uint32_t attributes) const;

  VocabData vocab_;
  std::string name_;
  std::string hash_;
  std::vector<std::int32_t> by_piece_;  // ids in the order of their pieces
  std::vector<std::int32_t> special_;   // control, unknown and user-defined ids, likewise
  std::unique_ptr<Engine> engine_;
};

}  // namespace puna
