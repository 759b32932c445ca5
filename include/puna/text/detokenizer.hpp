// Streaming: ids in, whole UTF-8 characters out. Everything it ever appended, flush included, equals
// Tokenizer::decode of all ids.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "puna/text/tokenizer.hpp"

namespace puna {

class Detokenizer {
 public:
  // All that it remembers; trivially copyable, saved with a session.
  struct State {
    std::array<std::uint8_t, 4> tail{};  // the beginning of a character whose rest has not come yet
    std::uint8_t tail_size = 0;          // 0..3
    std::uint8_t first_piece = 1;        // the next piece still loses its leading space
    std::uint8_t space_dropped = 0;      // ... unless the last one lost it already
    std::uint8_t any_text = 0;
    bool operator==(const State&) const = default;
  };

  // first_piece_rule: the first piece of the whole reply loses its leading space. False where the reply continues a
  // prompt's text, whose own first piece lost it.
  explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool first_piece_rule = true,
                       bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), first_piece_rule_(first_piece_rule), skip_special_(skip_special) {
    reset();
  }

  // Appends to `text` what id completes. Error(argument) for an id out of range, with nothing changed.
  void feed(std::int32_t id, std::string& text) { feed(*tokenizer_, state_, skip_special_, id, text); }
  std::string feed(std::int32_t id) {
    std::string text;
    feed(id, text);
    return text;
  }
  // Ends the stream: an unfinished character comes out as U+FFFD per byte. The first-piece state stays.
  void flush(std::string& text) { flush(state_, text); }
  std::string flush() {
    std::string text;
    flush(text);
    return text;
  }

  void reset() {
    state_ = State{};
    state_.first_piece = first_piece_rule_ && tokenizer_->strips_first_space() ? 1 : 0;
  }
  const State& state() const { return state_; }
  void restore(const State& state);  // Error(argument) for a state that no stream can have
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }

  // The same without an owner, for Tokenizer::decode.
  static void feed(const Tokenizer& tokenizer, State& state, bool skip_special, std::int32_t id, std::string& text);
  static void flush(State& state, std::string& text);

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  State state_;
  bool first_piece_rule_;
  bool skip_special_;
};

}  // namespace puna
