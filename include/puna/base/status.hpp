// Status codes and the one exception type of the core.
//
// Inside the core an error is thrown as puna::Error and unwinds through RAII; it is turned into a status at the
// C border (capi/src/border.hpp). A worker never throws: its tasks are computations on memory already checked.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace puna {

// Pinned: these numbers are the ABI's (puna.h, PUNA_E_*), asserted in capi/src/layout.cpp.
enum class Code : std::int32_t {
  ok = 0,
  argument = 1,      // a parameter of the call is wrong
  memory = 2,        // the allocator or the memory limit said no
  io = 3,            // the operating system could not open, read or write
  format = 4,        // a file's bytes break its format
  unsupported = 5,   // well formed, but nothing this library does
  context_full = 6,  // no room for more tokens
  cancelled = 7,     // the cancel token was tripped
  callback = 8,      // a host callback returned non-zero; see user_code
  busy = 9,          // the handle is in use, or was re-entered from its own callback
  state = 10,        // the call is legal, but not now
  hash = 11,         // the bytes are not those that were pinned by SHA-256
  encoding = 12,     // text that must be UTF-8 is not
  internal = 99,     // a defect in this library
};

class Error : public std::exception {
 public:
  Error(Code code, std::string text, std::int32_t user_code = 0)
      : code_(code), user_code_(user_code), text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }
  Code code() const noexcept { return code_; }
  std::int32_t user_code() const noexcept { return user_code_; }
  const std::string& text() const noexcept { return text_; }

 private:
  Code code_;
  std::int32_t user_code_;
  std::string text_;
};

[[noreturn]] inline void fail(Code code, std::string text) { throw Error(code, std::move(text)); }

}  // namespace puna
