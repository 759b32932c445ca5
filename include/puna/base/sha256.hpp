// SHA-256 (FIPS 180-4), incremental: for pinning a model file and for binding saved states to a model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace puna {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;
  Sha256();
  void update(const void* data, std::size_t n);
  Digest finish();

 private:
  void block(const std::uint8_t* p);
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> pending_{};
  std::uint64_t length_ = 0;
};

std::string to_hex(const Sha256::Digest& digest);

}  // namespace puna
