#include "puna/text/vocab.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <unordered_set>

#include "puna/base/sha256.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr int max_nested_user_defined = 32;  // sentencepiece keeps 64 on its stack, older ones 32

[[noreturn]] void bad(const std::string& file, const std::string& field, const std::string& text) {
  fail(Code::format, file + ": " + field + ": " + text);
}

struct Names {
  const char* pieces;
  const char* scores;
  const char* types;
};

Names names_of(VocabOrigin origin) {
  switch (origin) {
    case VocabOrigin::gguf: return {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"};
    case VocabOrigin::sentencepiece: return {"pieces.piece", "pieces.score", "pieces.type"};
    case VocabOrigin::hugging_face: return {"model.vocab", "model.merges", "added_tokens"};
    case VocabOrigin::llama2c: return {"token", "score", "type"};
  }
  return {"pieces", "scores", "types"};
}

void check_sizes(VocabData& vocab, const std::string& file, const Names& names) {
  const std::size_t n = vocab.pieces.size();
  if (n == 0) bad(file, names.pieces, "no pieces");
  if (n > max_pieces)
    bad(file, names.pieces, std::to_string(n) + " pieces, at most " + std::to_string(max_pieces) + " are supported");
  if (vocab.scores.size() != n)
    bad(file, names.scores, std::to_string(vocab.scores.size()) + " scores for " + std::to_string(n) + " pieces");
  if (!vocab.types.empty() && vocab.types.size() != n)
    bad(file, names.types, std::to_string(vocab.types.size()) + " types for " + std::to_string(n) + " pieces");
}

void check_id(std::int32_t id, std::size_t n, const std::string& file, const char* field) {
  if (id < -1 || (id >= 0 && static_cast<std::size_t>(id) >= n))
    bad(file, field, "id " + std::to_string(id) + " is outside a vocabulary of " + std::to_string(n));
}

void check_ids(const VocabData& v, const std::string& file) {
  const std::size_t n = v.pieces.size();
  check_id(v.bos, n, file, "BOS");
  check_id(v.eos, n, file, "EOS");
  check_id(v.unknown, n, file, "unknown token");
  check_id(v.pad, n, file, "padding token");
  check_id(v.prefix, n, file, "prefix token");
  check_id(v.suffix, n, file, "suffix token");
  check_id(v.middle, n, file, "middle token");
  check_id(v.eot, n, file, "end of middle token");
}

// A file without types: what Llama's converters would have written.
void infer_types(VocabData& v) {
  const std::size_t n = v.pieces.size();
  v.types.assign(n, 1);
  std::array<bool, 256> seen{};
  std::size_t bytes = 0;
  for (const auto& piece : v.pieces) {
    const int byte = byte_of_piece(piece);
    if (byte >= 0 && !seen[static_cast<std::size_t>(byte)]) seen[static_cast<std::size_t>(byte)] = true, ++bytes;
  }
  if (bytes == 256)
    for (std::size_t i = 0; i < n; ++i)
      if (byte_of_piece(v.pieces[i]) >= 0) v.types[i] = 6;
  for (const std::int32_t id : {v.bos, v.eos, v.pad})
    if (id >= 0) v.types[static_cast<std::size_t>(id)] = 3;
  if (v.unknown >= 0) v.types[static_cast<std::size_t>(v.unknown)] = 2;
}

void check_pieces(const VocabData& v, const std::string& file, const Names& names) {
  for (std::size_t i = 0; i < v.pieces.size(); ++i) {
    const std::string& piece = v.pieces[i];
    const auto field = [&] { return std::string(names.pieces) + "[" + std::to_string(i) + "]"; };
    if (piece.empty()) bad(file, field(), "an empty piece");
    if (piece.size() > max_piece_bytes)
      bad(file, field(),
          "a piece of " + std::to_string(piece.size()) + " bytes, at most " + std::to_string(max_piece_bytes) +
              " are supported");
    if (piece.find('\0') != std::string::npos) bad(file, field(), "the piece " + quoted(piece) + " contains a NUL byte");
    const std::size_t at = utf8_error(piece);
    if (at != std::string::npos)
      bad(file, field(), "the piece " + quoted(piece) + " is not UTF-8 at byte " + std::to_string(at));
    if (!std::isfinite(v.scores[i]))
      bad(file, std::string(names.scores) + "[" + std::to_string(i) + "]", "the score is not a finite number");
    if (v.types[i] < 1 || v.types[i] > 6)
      bad(file, std::string(names.types) + "[" + std::to_string(i) + "]",
          "the type is " + std::to_string(v.types[i]) + ", not 1 to 6");
  }
}

// Converters write U+2581 of user-defined pieces as a space; sentencepiece wants it back.
void restore_spaces(VocabData& v) {
  if (std::none_of(v.types.begin(), v.types.end(), [](std::int32_t t) { return t == 4; })) return;
  std::unordered_set<std::string> known(v.pieces.begin(), v.pieces.end());
  for (std::size_t i = 0; i < v.pieces.size(); ++i) {
    if (v.types[i] != 4 || v.pieces[i].find(' ') == std::string::npos) continue;
    std::string restored;
    for (const char c : v.pieces[i]) c == ' ' ? restored.append(space_symbol) : restored.append(1, c);
    if (restored.size() <= max_piece_bytes && known.insert(restored).second) v.pieces[i] = restored;
  }
}

void check_unique(const VocabData& v, const std::string& file, const Names& names) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(v.pieces.size());
  for (std::size_t i = 0; i < v.pieces.size(); ++i)
    if (!seen.insert(v.pieces[i]).second)
      bad(file, std::string(names.pieces) + "[" + std::to_string(i) + "]",
          "the piece " + quoted(v.pieces[i]) + " is there twice");
}

// sentencepiece insists on exactly one UNKNOWN; recent converters make the first three ids CONTROL.
void settle_unknown(VocabData& v, const std::string& file, const Names& names) {
  std::int32_t found = -1;
  for (std::size_t i = 0; i < v.types.size(); ++i) {
    if (v.types[i] != 2) continue;
    if (found >= 0)
      bad(file, names.types, "ids " + std::to_string(found) + " and " + std::to_string(i) + " are both unknown tokens");
    found = static_cast<std::int32_t>(i);
  }
  if (found >= 0) {
    v.unknown = found;
    return;
  }
  if (v.unknown < 0 && v.merge_rules) return;  // a tokenizer.json may do without
  if (v.unknown < 0) bad(file, names.types, "no unknown token");
  const auto id = static_cast<std::size_t>(v.unknown);
  if (v.types[id] != 1 && v.types[id] != 3)
    bad(file, names.types,
        "no unknown token, and id " + std::to_string(id) + " (" + quoted(v.pieces[id]) + ") of type " +
            std::to_string(v.types[id]) + " cannot be it");
  v.types[id] = 2;
}

void check_bytes(const VocabData& v, const std::string& file, const Names& names) {
  std::array<bool, 256> seen{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < v.pieces.size(); ++i) {
    if (v.types[i] != 6) continue;
    const int byte = byte_of_piece(v.pieces[i]);
    if (byte < 0)
      bad(file, std::string(names.pieces) + "[" + std::to_string(i) + "]",
          quoted(v.pieces[i]) + " has the type of a byte, but is not of the form <0x00> to <0xFF>");
    seen[static_cast<std::size_t>(byte)] = true;
    ++count;
  }
  if (count == 0) return;
  for (int byte = 0; byte < 256; ++byte)
    if (!seen[static_cast<std::size_t>(byte)])
      bad(file, names.types, "there are byte pieces, but " + piece_of_byte(byte) + " is missing");
}

// sentencepiece collects all user-defined pieces that begin at one place in a fixed array.
void check_nesting(const VocabData& v, const std::string& file, const Names& names) {
  std::vector<std::string_view> user;
  for (std::size_t i = 0; i < v.pieces.size(); ++i)
    if (v.types[i] == 4) user.push_back(v.pieces[i]);
  std::sort(user.begin(), user.end());
  std::vector<std::string_view> open;
  for (const std::string_view piece : user) {
    while (!open.empty() && piece.substr(0, open.back().size()) != open.back()) open.pop_back();
    open.push_back(piece);
    if (open.size() > max_nested_user_defined)
      bad(file, names.pieces,
          "more than " + std::to_string(max_nested_user_defined) + " user-defined pieces that each begin with the one before, up to " +
              quoted(piece));
  }
}

}  // namespace

void check_vocab(VocabData& vocab, const std::string& file, VocabOrigin origin) {
  const Names names = names_of(origin);
  check_sizes(vocab, file, names);
  check_ids(vocab, file);
  if (vocab.types.empty()) infer_types(vocab);
  check_pieces(vocab, file, names);
  check_unique(vocab, file, names);
  if (origin == VocabOrigin::gguf) restore_spaces(vocab);
  settle_unknown(vocab, file, names);
  check_bytes(vocab, file, names);
  check_nesting(vocab, file, names);
}

bool has_byte_pieces(const VocabData& vocab) {
  return std::find(vocab.types.begin(), vocab.types.end(), 6) != vocab.types.end();
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    if (c >= '0' && c <= '9') value = value * 16 + (c - '0');
    else if (c >= 'A' && c <= 'F') value = value * 16 + (c - 'A' + 10);
    else return -1;
  }
  return value;
}

std::string piece_of_byte(int byte) {
  static constexpr char hex[] = "0123456789ABCDEF";
  return std::string("<0x") + hex[(byte >> 4) & 15] + hex[byte & 15] + ">";
}

std::size_t utf8_length(std::string_view text, std::size_t at) {
  return at < text.size() ? utf8_length(text.substr(at)) : 0;
}

std::size_t utf8_error(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const std::size_t n = utf8_length(text, at);
    if (n == 0) return at;
    at += n;
  }
  return std::string_view::npos;
}

std::string vocab_hash(const VocabData& v) {
  Sha256 sha;
  const auto number = [&](std::uint32_t value) {
    const std::uint8_t bytes[4] = {
        static_cast<std::uint8_t>(value), static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value >> 16),
        static_cast<std::uint8_t>(value >> 24)};
    sha.update(bytes, 4);
  };
  number(static_cast<std::uint32_t>(v.pieces.size()));
  for (std::size_t i = 0; i < v.pieces.size(); ++i) {
    number(static_cast<std::uint32_t>(v.pieces[i].size()));
    sha.update(v.pieces[i].data(), v.pieces[i].size());
    number(std::bit_cast<std::uint32_t>(v.scores[i] == 0.0f ? 0.0f : v.scores[i]));
    number(static_cast<std::uint32_t>(v.types[i]));
  }
  if (v.merge_rules)
    for (const auto& [left, right] : v.merge_rules->merges)
      number(static_cast<std::uint32_t>(left)), number(static_cast<std::uint32_t>(right));
  for (const std::int32_t id : {v.bos, v.eos, v.unknown}) number(static_cast<std::uint32_t>(id));
  number((v.add_space_prefix ? 1u : 0u) | (v.remove_extra_whitespaces ? 2u : 0u));
  return to_hex(sha.finish());
}

}  // namespace puna
