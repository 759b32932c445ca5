// Between the tool and the person: progress bars, Ctrl-C, text on stdout and stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <puna.hpp>
#include <string>
#include <string_view>

namespace cli {

using Json = nlohmann::ordered_json;

// Ctrl-C trips a cancel token; a second one does what it always did. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  puna_cancel* token() const { return cancel_.get(); }
  bool tripped() const;

 private:
  puna::Cancel cancel_;
  void (*before_)(int);
};

// A bar on stderr, drawn at most ten times a second, and only on a terminal.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  static int32_t PUNA_CALL report(void* self, const puna_progress* progress);
  void draw(const puna_progress& progress);
  void label(std::string text) { label_ = std::move(text); }  // in place of the phase's name; "" gives it back
  void hide_decode() { hide_decode_ = true; }                 // where the text itself shows it
  void clear();                                               // takes the bar away

 private:
  using Clock = std::chrono::steady_clock;
  bool enabled_, hide_decode_ = false, visible_ = false;
  std::string label_;
  std::int32_t phase_ = 0;
  std::uint64_t phase_begin_done_ = 0;
  double phase_begin_ms_ = 0;
  Clock::time_point last_{};
};

// One piece of text to stdout, at once. On a terminal, control characters that a model may have made up are left out.
// Throws Failed when stdout does not take it.
void write_out(std::string_view text);
void write_coloured(std::string_view text);  // as it is: for text of ours, its foreign parts printable()
void write_json(const Json& json);  // one line
void say(bool quiet, std::string_view text);  // one line to stderr

// Text from a file, made harmless for a terminal and cut to about `width` bytes.
std::string printable(std::string_view text, std::size_t width = 200);

bool stdout_is_terminal();
bool stderr_is_terminal();

}  // namespace cli
