// The border between C and the core: no exception leaves, no foreign floating-point mode enters, structs of any age fit.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "puna.h"
#include "puna/base/fpenv.hpp"
#include "puna/base/status.hpp"

namespace puna::capi {

// Fills a caller's puna_error; text is cut on a character border.
void set_error(puna_error* error, std::int32_t code, std::int32_t user_code, std::string_view text) noexcept;
// What the exception in flight says, as a status.
std::int32_t current_exception(puna_error* error) noexcept;

// Every entry that can fail runs its body here.
template <class F>
std::int32_t entry(puna_error* error, F&& body) noexcept {
  FpGuard fp;
  try {
    body();
  } catch (...) {
    return current_exception(error);
  }
  set_error(error, PUNA_OK, 0, {});
  return PUNA_OK;
}

template <class T>
T& required(T* handle, const char* name) {
  if (!handle) fail(Code::argument, std::string(name) + " is NULL");
  return *handle;
}

// Options from a caller that may know less than we do, or more: absent fields have their default, unknown ones must be 0.
template <class T>
T read_options(const T* in, const T& defaults, const char* name) {
  T out = defaults;
  if (!in) return out;
  std::uint32_t size;
  std::memcpy(&size, in, sizeof size);
  if (size < sizeof size || size > (1u << 20))
    fail(Code::argument, std::string(name) + ".struct_size is " + std::to_string(size) + ": call its init first");
  std::memcpy(&out, in, std::min<std::size_t>(size, sizeof(T)));
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  for (std::size_t i = sizeof(T); i < size; ++i)
    if (bytes[i]) fail(Code::unsupported, std::string(name) + " sets a field that this library does not know yet");
  out.struct_size = sizeof(T);
  return out;
}

// Fills a caller's options struct of `size` bytes.
template <class T>
void init_options(T* out, std::size_t size, T defaults) noexcept {
  if (!out || size < sizeof(std::uint32_t)) return;
  std::memset(static_cast<void*>(out), 0, size);
  defaults.struct_size = static_cast<std::uint32_t>(size);
  std::memcpy(static_cast<void*>(out), &defaults, std::min(size, sizeof(T)));
}

// Fills a caller's output struct of `size` bytes.
template <class T>
void write_output(T* out, std::size_t size, T value, const char* name) {
  required(out, name);
  if (size < sizeof(std::uint32_t)) fail(Code::argument, std::string(name) + ": size is " + std::to_string(size));
  init_options(out, size, value);
}

// Exclusive use of a handle for a while.
class Claim {
 public:
  Claim(std::atomic<bool>& busy, const char* name) : busy_(&busy) {
    if (busy.exchange(true, std::memory_order_acquire)) {
      busy_ = nullptr;
      fail(Code::busy, std::string(name) + " is in use by another call");
    }
  }
  Claim(Claim&& other) noexcept : busy_(std::exchange(other.busy_, nullptr)) {}
  Claim& operator=(Claim&&) = delete;
  ~Claim() {
    if (busy_) busy_->store(false, std::memory_order_release);
  }

 private:
  std::atomic<bool>* busy_;
};

// Copies to a caller's array: *count is what is needed, whether it fits or not.
template <class T>
void write_array(const T* from, std::size_t n, T* to, std::size_t capacity, std::size_t* count, const char* name) {
  required(count, "count");
  if (capacity != 0) required(to, name);
  *count = n;
  if (n > capacity && !(capacity == 0 && !to))
    throw Error(static_cast<Code>(PUNA_E_BUFFER), std::string(name) + " holds " + std::to_string(capacity) + ", " + std::to_string(n) + " are needed");
  if (capacity == 0 && !to && n > 0) return;  // a question for the size only
  std::copy(from, from + n, to);
}

}  // namespace puna::capi
