// Importance matrices, either form: what is read holds finite means of squares, and is read again as it was written.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "puna/base/status.hpp"
#include "puna/slim/imatrix.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const puna::Imatrix m = puna::read_imatrix(puna::File::from_memory(std::as_bytes(std::span(data, size)), "input"));
    if (m.entries.empty()) std::abort();
    for (const auto& [name, entry] : m.entries) {
      if (entry.mean_square.size() > size / sizeof(float)) std::abort();
      for (const float v : entry.mean_square)
        if (!std::isfinite(v) || v < 0.0f) std::abort();
      if (m.find(name, entry.mean_square.size(), "input") != entry.mean_square.data()) std::abort();
    }
  } catch (const puna::Error& error) {
    if (error.code() == puna::Code::internal) std::abort();
  }
  return 0;
}
