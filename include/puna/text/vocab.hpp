// The gate of the tokenizer: no array of pieces reaches sentencepiece before it passed here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "puna/io/weight_source.hpp"

namespace puna {

enum class PieceType : std::int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

inline constexpr std::size_t max_pieces = std::size_t{1} << 20;
inline constexpr std::size_t max_piece_bytes = 256;
inline constexpr std::string_view space_symbol = "\xE2\x96\x81";  // U+2581, how a space is spelt in a piece

// Where the arrays come from, for what is forgiven and for messages.
enum class VocabOrigin { gguf, sentencepiece, hugging_face, llama2c };

// Throws Error(format | unsupported) naming `file`, the field and the value, unless a tokenizer can be built from the
// arrays. Repairs what converters are known to leave: no UNKNOWN piece (id `unknown` becomes it), absent types, user-defined
// pieces with spaces in place of U+2581 (GGUF).
void check_vocab(VocabData& vocab, const std::string& file, VocabOrigin origin = VocabOrigin::gguf);

// 256 byte pieces are there (after check_vocab: all or none).
bool has_byte_pieces(const VocabData& vocab);

// "<0x0A>" -> 10; -1 for anything not exactly of that form.
int byte_of_piece(std::string_view piece);
std::string piece_of_byte(int byte);

// Length of the UTF-8 character at text[at], 0 if it is malformed (overlong forms and surrogates included).
std::size_t utf8_length(std::string_view text, std::size_t at);
// The first malformed byte, or npos.
std::size_t utf8_error(std::string_view text);

// SHA-256 in hex over pieces, scores, types and special ids: two files with the same tokenizer have the same.
std::string vocab_hash(const VocabData& vocab);

}  // namespace puna
