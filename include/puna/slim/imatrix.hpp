// Importance matrices: for each weight tensor, the mean square of each input column over a text. llama.cpp's two formats.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "puna/io/file.hpp"

namespace puna {

struct Imatrix {
  struct Entry {
    std::vector<float> mean_square;  // [columns]
    std::uint64_t count = 0;         // rows (tokens, or chunks in a .dat) behind it
  };
  std::map<std::string, Entry> entries;  // by GGUF tensor name
  std::vector<std::string> datasets;
  std::uint32_t chunks = 0, chunk_tokens = 0;

  // Null when the tensor is not there; Error(format) when it has another number of columns.
  const float* find(const std::string& tensor, std::uint64_t columns, const std::string& file) const;
};

// Either format, told by its bytes. Error(format) names file, entry and value.
Imatrix read_imatrix(const std::shared_ptr<const File>& file);
// .gguf, or the old .dat by the name's ending; atomic.
void write_imatrix(const Imatrix& imatrix, const std::string& path);

}  // namespace puna
