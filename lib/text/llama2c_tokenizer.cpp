// llama2.c's tokenizer.bin: the longest token's length, then a score, a length and the bytes of each; nothing else. Its
// exporter wrote U+2581 as a space and put line breaks around BOS and EOS.
#include <string>

#include "puna/base/status.hpp"
#include "puna/io/reader.hpp"
#include "puna/text/hf_tokenizer.hpp"

namespace puna {
namespace {

std::string read_piece(Reader& reader, std::size_t id) {
  const std::string field = "length of token " + std::to_string(id);
  const auto length = reader.get<std::uint32_t>(field.c_str());
  if (length == 0 || length > max_piece_bytes)
    reader.refuse(field, "is " + std::to_string(length) + ", not 1 to " + std::to_string(max_piece_bytes));
  return reader.text(length, "text of a token");
}

std::string with_space_symbols(const std::string& piece) {
  std::string out;
  for (const char c : piece) c == ' ' ? out.append(space_symbol) : out.append(1, c);
  return out;
}

}  // namespace

VocabData parse_llama2c_tokenizer(const File& file, std::uint32_t vocab) {
  Reader reader(file);
  reader.skip(4, "longest token");
  if (vocab > max_pieces)
    fail(Code::unsupported, file.name() + ": a vocabulary of " + std::to_string(vocab) + " tokens, at most " +
                                std::to_string(max_pieces) + " are supported");
  VocabData v;
  while (vocab ? v.pieces.size() < vocab : reader.remaining() > 0) {
    if (v.pieces.size() == max_pieces)
      fail(Code::unsupported, file.name() + ": more than " + std::to_string(max_pieces) + " tokens");
    v.scores.push_back(reader.get<float>("score of a token"));
    v.pieces.push_back(with_space_symbols(read_piece(reader, v.pieces.size())));
  }
  if (reader.remaining() > 0)
    reader.refuse("number of tokens", "there are more than the model's " + std::to_string(vocab));
  if (v.pieces.size() > 2) {
    if (v.pieces[1] == "\n<s>\n") v.pieces[1] = "<s>";
    if (v.pieces[2] == "\n</s>\n") v.pieces[2] = "</s>";
  }
  check_vocab(v, file.name(), VocabOrigin::llama2c);  // which tells the types from the pieces
  return v;
}

}  // namespace puna
