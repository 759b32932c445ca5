// The zip around a torch checkpoint: where each entry's bytes lie. Nothing is extracted, so that names are only names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "puna/io/file.hpp"

namespace puna::io {

struct ZipEntry {
  std::string name;
  std::uint64_t offset = 0;  // of its first byte in the file
  std::uint64_t size = 0;
  std::uint32_t crc = 0;  // torch can be told to leave it wrong, so that nothing is refused for it
};

class Zip {
 public:
  // Reads the central directory and every local header. Throws Error(format) for what breaks the format or overlaps,
  // Error(unsupported) for entries that are compressed or encrypted.
  explicit Zip(std::shared_ptr<const File> file);

  const std::shared_ptr<const File>& file() const { return file_; }
  const std::vector<ZipEntry>& entries() const { return entries_; }  // sorted by name
  const ZipEntry* find(std::string_view name) const;

 private:
  std::shared_ptr<const File> file_;
  std::vector<ZipEntry> entries_;
};

bool zip_crc_matches(const File& file, const ZipEntry& entry);

// Bytes of a file in place, or copied where the file is not in memory.
class FileBytes {
 public:
  FileBytes(const File& file, std::uint64_t offset, std::uint64_t n);
  std::string_view view() const { return view_; }

 private:
  std::string copy_;
  std::string_view view_;
};

}  // namespace puna::io
