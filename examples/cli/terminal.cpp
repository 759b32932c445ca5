#include "terminal.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli.hpp"

#include <fmt/format.h>

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace cli {
namespace {

std::atomic<puna_cancel*> to_cancel{nullptr};
std::atomic<bool> was_tripped{false};

// Lock-free stores only: puna_cancel_trip is one.
void on_interrupt(int) {
  was_tripped.store(true);
  if (puna_cancel* cancel = to_cancel.load()) puna_cancel_trip(cancel);
  std::signal(SIGINT, SIG_DFL);
}

bool is_terminal(std::FILE* file) {
#ifdef _WIN32
  return _isatty(_fileno(file)) != 0;
#else
  return isatty(fileno(file)) != 0;
#endif
}

const char* phase_name(std::int32_t phase) {
  switch (phase) {
    case PUNA_PHASE_HASH: return "checking";
    case PUNA_PHASE_LOAD: return "loading";
    case PUNA_PHASE_PROMPT: return "prompt";
    case PUNA_PHASE_DECODE: return "writing";
    case PUNA_PHASE_WRITE: return "writing";
    case PUNA_PHASE_CALIBRATE: return "calibrating";
    case PUNA_PHASE_EVALUATE: return "measuring";
    default: return "working";
  }
}

bool phase_in_bytes(std::int32_t phase) {
  return phase == PUNA_PHASE_HASH || phase == PUNA_PHASE_LOAD || phase == PUNA_PHASE_WRITE;
}

std::string duration(double seconds) {
  if (seconds >= 3600) return fmt::format("{:.1f} h", std::min(seconds / 3600, 9999.0));
  const int whole = static_cast<int>(seconds + 0.5);
  return whole < 60 ? fmt::format("{} s", whole) : fmt::format("{}:{:02} min", whole / 60, whole % 60);
}

}  // namespace

Interrupt::Interrupt() {
  was_tripped.store(false);
  to_cancel.store(cancel_.get());
  before_ = std::signal(SIGINT, on_interrupt);
  if (before_ == SIG_IGN) std::signal(SIGINT, SIG_IGN);  // started with nohup or in the background
}

Interrupt::~Interrupt() {
  if (!tripped()) std::signal(SIGINT, before_);
  to_cancel.store(nullptr);
}

bool Interrupt::tripped() const { return was_tripped.load(); }

bool stdout_is_terminal() {
  static const bool terminal = is_terminal(stdout);
  return terminal;
}

bool stderr_is_terminal() {
  static const bool terminal = is_terminal(stderr);
  return terminal;
}

Progress::Progress(bool quiet) : enabled_(!quiet && stderr_is_terminal()) {}

std::int32_t PUNA_CALL Progress::report(void* self, const puna_progress* progress) {
  static_cast<Progress*>(self)->draw(*progress);
  return 0;
}

void Progress::draw(const puna_progress& progress) {
  if (!enabled_) return;
  if (progress.phase == PUNA_PHASE_DECODE && hide_decode_) return clear();
  const auto now = Clock::now();
  if (progress.phase != phase_ || progress.done < phase_begin_done_) {
    phase_ = progress.phase;
    phase_begin_done_ = progress.done;
    phase_begin_ms_ = progress.elapsed_ms;
    last_ = now;  // what is over within a tenth of a second needs no bar
    return;
  }
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;

  const double seconds = std::max(1e-9, (progress.elapsed_ms - phase_begin_ms_) / 1000);
  const double rate = static_cast<double>(progress.done - phase_begin_done_) / seconds;
  std::string line = fmt::format("{:<10}", label_.empty() ? phase_name(progress.phase) : label_);
  if (progress.total > 0) {
    constexpr int width = 30;
    const double part = std::min(1.0, static_cast<double>(progress.done) / static_cast<double>(progress.total));
    const int full = static_cast<int>(part * width);
    line += fmt::format(" [{}{}] {:3.0f}%", std::string(full, '#'), std::string(width - full, '.'), part * 100);
  } else {
    line += fmt::format(" {}", progress.done);
  }
  if (phase_in_bytes(progress.phase))
    line += fmt::format("  {:.1f} MB/s", rate / 1e6);
  else
    line += fmt::format("  {:.{}f} tokens/s", rate, rate < 100 ? 1 : 0);
  if (progress.total > progress.done && rate > 0)
    line += fmt::format("  {} left", duration(static_cast<double>(progress.total - progress.done) / rate));
  std::fputs(("\r" + line + "\x1b[K").c_str(), stderr);
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

void write_out(std::string_view text) {
  std::string harmless;
  if (stdout_is_terminal() &&
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 32 && c != '\n' && c != '\t'; })) {
    for (const char c : text)
      if (static_cast<unsigned char>(c) >= 32 || c == '\n' || c == '\t') harmless += c;
    text = harmless;
  }
  write_coloured(text);
}

void write_coloured(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Failed(fmt::format("stdout: cannot write: {}", std::strerror(errno)));
}

void write_json(const Json& json) {
  // A model's text is whole UTF-8 by promise; a file's names may be anything.
  write_out(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void say(bool quiet, std::string_view text) {
  if (!quiet) std::fputs((std::string(text) + "\n").c_str(), stderr);
}

std::string printable(std::string_view text, std::size_t width) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool inside_character = (byte & 0xC0) == 0x80;
    if (out.size() >= width && !inside_character) return out + "...";
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 32 || byte == 127)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out;
}

}  // namespace cli
