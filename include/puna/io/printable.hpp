// Text of a file in messages and listings: foreign bytes never reach a log or a terminal as they are.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace puna {

// In double quotes, cut to `max` bytes of text; control characters, quotes and bytes that are not UTF-8 as \xNN.
std::string quoted(std::string_view bytes, std::size_t max = 80);

// The same text, with U+FFFD for each byte that is not part of valid UTF-8 and for NUL.
std::string as_utf8(std::string_view bytes);

// Bytes of the valid UTF-8 character at the front, 0 when it is none.
std::size_t utf8_length(std::string_view bytes);

}  // namespace puna
