// Version, statuses, puna_error.
#include <stdexcept>
#include <string_view>

#include "border.hpp"

namespace puna::capi {

void set_error(puna_error* error, std::int32_t code, std::int32_t user_code, std::string_view text) noexcept {
  if (!error || error->struct_size <= offsetof(puna_error, text)) return;
  error->code = code;
  error->user_code = user_code;
  const std::size_t capacity = error->struct_size - offsetof(puna_error, text);
  std::size_t n = std::min(text.size(), capacity - 1);
  // Not in the middle of a character: step back over continuation bytes.
  if (n < text.size())
    while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0u) == 0x80u) --n;
  if (n) std::memcpy(error->text, text.data(), n);
  error->text[n] = '\0';
}

std::int32_t current_exception(puna_error* error) noexcept {
  std::int32_t code = PUNA_E_INTERNAL;
  try {
    throw;
  } catch (const Error& e) {
    code = static_cast<std::int32_t>(e.code());
    set_error(error, code, e.user_code(), e.text());
  } catch (const std::bad_alloc&) {
    code = PUNA_E_MEMORY;
    set_error(error, code, 0, "the C++ heap has no memory");
  } catch (const std::length_error& e) {
    code = PUNA_E_MEMORY;
    set_error(error, code, 0, e.what());
  } catch (const std::exception& e) {
    set_error(error, code, 0, e.what());
  } catch (...) {
    set_error(error, code, 0, "an unknown exception");
  }
  return code;
}

}  // namespace puna::capi

extern "C" {

uint32_t PUNA_CALL puna_abi_version(void) { return PUNA_ABI_VERSION; }

#define PUNA_TEXT_OF(x) #x
#define PUNA_VERSION_TEXT(a, b, c) PUNA_TEXT_OF(a) "." PUNA_TEXT_OF(b) "." PUNA_TEXT_OF(c)
const char* PUNA_CALL puna_version(void) {
  return PUNA_VERSION_TEXT(PUNA_VERSION_MAJOR, PUNA_VERSION_MINOR, PUNA_VERSION_PATCH);
}

const char* PUNA_CALL puna_status_name(int32_t status) {
  switch (status) {
    case PUNA_OK: return "PUNA_OK";
    case PUNA_E_ARGUMENT: return "PUNA_E_ARGUMENT";
    case PUNA_E_MEMORY: return "PUNA_E_MEMORY";
    case PUNA_E_IO: return "PUNA_E_IO";
    case PUNA_E_FORMAT: return "PUNA_E_FORMAT";
    case PUNA_E_UNSUPPORTED: return "PUNA_E_UNSUPPORTED";
    case PUNA_E_CONTEXT_FULL: return "PUNA_E_CONTEXT_FULL";
    case PUNA_E_CANCELLED: return "PUNA_E_CANCELLED";
    case PUNA_E_CALLBACK: return "PUNA_E_CALLBACK";
    case PUNA_E_BUSY: return "PUNA_E_BUSY";
    case PUNA_E_STATE: return "PUNA_E_STATE";
    case PUNA_E_HASH: return "PUNA_E_HASH";
    case PUNA_E_ENCODING: return "PUNA_E_ENCODING";
    case PUNA_E_BUFFER: return "PUNA_E_BUFFER";
    case PUNA_E_INTERNAL: return "PUNA_E_INTERNAL";
    default: return "unknown status";
  }
}

void PUNA_CALL puna_error_init(puna_error* error, size_t size) {
  puna_error defaults{};
  puna::capi::init_options(error, size, defaults);
}

}  // extern "C"
