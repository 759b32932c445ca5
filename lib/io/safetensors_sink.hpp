// A safetensors file whose tensors may come in any order: each has its place before the first byte is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "puna/io/atomic_file.hpp"
#include "puna/io/weight_source.hpp"

namespace puna::io {

struct SafetensorsEntry {
  std::string name;
  DType type;
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes;
};

struct SafetensorsLayout {
  std::string header;                  // with the eight bytes before it
  std::vector<std::uint64_t> offsets;  // from the file's beginning, in the order of the entries given
  std::uint64_t size = 0;
};

// The library's own order: types with the strictest alignment first, then names; the header padded to eight.
SafetensorsLayout safetensors_layout(const std::vector<SafetensorsEntry>& entries,
                                     const std::vector<MetadataEntry>& metadata);
std::string_view safetensors_type(DType type);  // empty for what the format cannot hold

}  // namespace puna::io
