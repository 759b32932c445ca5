// safetensors: an 8-byte length, a JSON header, and the elements without holes or overlaps.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "puna/io/stored_tensor.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

class SafetensorsFile {
 public:
  // Reads and checks the header alone. Throws Error(format) naming the file, the tensor and the value.
  explicit SafetensorsFile(std::shared_ptr<const File> file);

  const std::shared_ptr<const File>& file() const { return file_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // in the order of their bytes
  const std::vector<MetadataEntry>& metadata() const { return metadata_; }

 private:
  std::shared_ptr<const File> file_;
  std::vector<StoredTensor> tensors_;
  std::vector<MetadataEntry> metadata_;
};

// True for bytes that can only be a safetensors file.
bool looks_like_safetensors(const File& file);
Listing inspect_safetensors(std::shared_ptr<const File> file);

}  // namespace puna
