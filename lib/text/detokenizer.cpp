#include "puna/text/detokenizer.hpp"

#include "puna/base/status.hpp"

namespace puna {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

// True when bytes could be the beginning of a longer, valid character.
bool may_continue(std::string_view bytes) {
  std::string whole(bytes);
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0xc2 || first > 0xf4) return false;
  const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (bytes.size() >= length) return false;
  // The second byte's range depends on the first; the others' is 80 to BF.
  if (bytes.size() == 1) return true;
  whole.resize(length, '\x80');
  return utf8_length(whole, 0) == length;
}

// Moves whole characters from the tail to text; bytes that can belong to none become U+FFFD, one each.
void drain(Detokenizer::State& state, bool at_end, std::string& text) {
  std::size_t at = 0;
  const std::string_view tail(reinterpret_cast<const char*>(state.tail.data()), state.tail_size);
  while (at < tail.size()) {
    const std::size_t n = utf8_length(tail, at);
    if (n == 0 && !at_end && may_continue(tail.substr(at))) break;
    text += n == 0 ? replacement : tail.substr(at, n);
    state.any_text = 1;
    at += n == 0 ? 1 : n;
  }
  const std::size_t rest = tail.size() - at;
  for (std::size_t i = 0; i < rest; ++i) state.tail[i] = state.tail[at + i];
  for (std::size_t i = rest; i < state.tail.size(); ++i) state.tail[i] = 0;
  state.tail_size = static_cast<std::uint8_t>(rest);
}

}  // namespace

void Detokenizer::feed(const Tokenizer& tokenizer, State& state, bool skip_special, std::int32_t id, std::string& text) {
  const PieceType type = tokenizer.type(id);
  std::string_view piece = tokenizer.piece(id);
  if (type == PieceType::byte) {
    state.tail[state.tail_size++] = static_cast<std::uint8_t>(byte_of_piece(piece));
    drain(state, false, text);
    return;
  }
  drain(state, true, text);
  if (state.space_dropped || state.any_text) state.first_piece = 0;
  state.space_dropped = 0;
  const std::size_t before = text.size();
  if (type == PieceType::control) {
    if (!skip_special) text += piece;
  } else if (type == PieceType::unknown) {
    text += tokenizer.vocab().unknown_surface;
  } else {
    if (state.first_piece && piece.substr(0, space_symbol.size()) == space_symbol) {
      piece.remove_prefix(space_symbol.size());
      // Where extra spaces are removed, every space before the first text goes.
      state.space_dropped = tokenizer.vocab().remove_extra_whitespaces ? 0 : 1;
    }
    for (std::size_t at = piece.find(space_symbol); at != std::string_view::npos; at = piece.find(space_symbol)) {
      text += piece.substr(0, at);
      text += ' ';
      piece.remove_prefix(at + space_symbol.size());
    }
    text += piece;
  }
  if (text.size() != before) state.any_text = 1;
}

void Detokenizer::flush(State& state, std::string& text) { drain(state, true, text); }

void Detokenizer::restore(const State& state) {
  const std::string_view tail(reinterpret_cast<const char*>(state.tail.data()), state.tail_size <= 3 ? state.tail_size : 0);
  if (state.tail_size > 3 || state.first_piece > 1 || state.space_dropped > 1 || state.any_text > 1 ||
      (!tail.empty() && !may_continue(tail)))
    fail(Code::argument, "a detokenizer state that no stream can have");
  state_ = state;
}

}  // namespace puna
