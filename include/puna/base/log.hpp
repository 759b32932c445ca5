// A runtime's log: the host's callback, or silence. The library never prints.
#pragma once

#include <string_view>

namespace puna {

enum class LogLevel : int { debug = 0, info = 1, warning = 2, error = 3 };

class Log {
 public:
  using Sink = void (*)(void* user, int level, const char* text, unsigned long long length);
  Log() = default;
  Log(void* user, Sink sink) : user_(user), sink_(sink) {}
  void operator()(LogLevel level, std::string_view text) const {
    if (sink_) sink_(user_, static_cast<int>(level), text.data(), text.size());
  }

 private:
  void* user_ = nullptr;
  Sink sink_ = nullptr;
};

}  // namespace puna
