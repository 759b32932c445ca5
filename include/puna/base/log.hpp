// A runtime's log: the host's callback, or silence. The library never prints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace puna {

enum class LogLevel : std::int32_t { debug = 0, info = 1, warning = 2, error = 3 };

class Log {
 public:
  using Sink = void (*)(void* user, std::int32_t level, const char* text, std::size_t length);
  Log() = default;
  Log(void* user, Sink sink) : user_(user), sink_(sink) {}
  void operator()(LogLevel level, std::string_view text) const {
    if (sink_) sink_(user_, static_cast<std::int32_t>(level), text.data(), text.size());
  }

 private:
  void* user_ = nullptr;
  Sink sink_ = nullptr;
};

}  // namespace puna
