// Helpers of the tests of named-tensor containers: bytes in memory, small files written by hand, what fixtures hold.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "puna/base/sha256.hpp"
#include "puna/io/file.hpp"
#include "puna/io/weight_source.hpp"
#include "refusal.hpp"
#include "support.hpp"

namespace puna_test {

// A file over text that it keeps alive, in place or (as from a host's callback) only to be read.
class TextFile {
 public:
  explicit TextFile(std::string text, std::string name = "test.bin") : text_(std::move(text)), name_(std::move(name)) {}
  std::shared_ptr<const puna::File> mapped() const {
    return puna::File::from_memory({reinterpret_cast<const std::byte*>(text_.data()), text_.size()}, name_);
  }
  std::shared_ptr<const puna::File> streamed() {
    return puna::File::from_callback(this, &TextFile::read, text_.size(), name_);
  }

 private:
  static std::int32_t read(void* user, std::uint64_t offset, void* dst, std::size_t n) {
    const std::string& text = static_cast<TextFile*>(user)->text_;
    if (offset > text.size() || n > text.size() - offset) return 1;
    std::memcpy(dst, text.data() + offset, n);
    return 0;
  }
  std::string text_, name_;
};

inline std::string little_endian(std::uint64_t n, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(n >> (8 * i));
  return out;
}

inline std::string safetensors(const std::string& header, std::size_t data_bytes = 0) {
  return little_endian(header.size(), 8) + header + std::string(data_bytes, '\1');
}

inline std::string path_text(const fs::path& path) {
  const auto u8 = path.u8string();
  return std::string(u8.begin(), u8.end());
}

// The rows of a weight in Meta's order, as copy() gives them in pieces of `step` rows.
inline std::string copy_weight(const puna::WeightSource& source, puna::Part part, std::uint32_t layer,
                               std::uint64_t step) {
  const puna::WeightInfo& w = *source.find(part, layer);
  const auto row = static_cast<std::size_t>(puna::row_bytes(w.type, w.columns));
  std::string out(row * static_cast<std::size_t>(w.rows), '\0');
  for (std::uint64_t r = 0; r < w.rows; r += step) {
    const std::uint64_t n = std::min(step, w.rows - r);
    source.copy(part, layer, r, n, reinterpret_cast<std::byte*>(out.data()) + r * row);
  }
  return out;
}

// Every line of weight_hashes.tsv (torch 2.15.0, safetensors 0.8.0) for `path` against the source; no weight beyond them.
inline void check_against_hashes(const puna::WeightSource& source, const std::string& path) {
  std::istringstream lines(read_text(fixture("weight_hashes.tsv")));
  std::string line;
  std::size_t seen = 0, there = 0;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string at, part_text, layer_text, type, rows, columns, digest;
    std::getline(fields, at, '\t');
    if (at != path) continue;
    std::getline(fields, part_text, '\t');
    std::getline(fields, layer_text, '\t');
    std::getline(fields, type, '\t');
    std::getline(fields, rows, '\t');
    std::getline(fields, columns, '\t');
    std::getline(fields, digest, '\t');
    CAPTURE(line);
    ++seen;
    for (int p = 0; p < puna::part_count; ++p) {
      const auto part = static_cast<puna::Part>(p);
      if (puna::part_name(part) != part_text) continue;
      const auto layer = static_cast<std::uint32_t>(std::stoul(layer_text));
      const puna::WeightInfo* w = source.find(part, layer);
      REQUIRE(w != nullptr);
      CHECK(std::string(puna::info(w->type).name) == type);
      CHECK(std::to_string(w->rows) == rows);
      CHECK(std::to_string(w->columns) == columns);
      for (const std::uint64_t step : {w->rows, std::uint64_t{5}, std::uint64_t{1}}) {
        const std::string bytes = copy_weight(source, part, layer, step);
        puna::Sha256 hash;
        hash.update(bytes.data(), bytes.size());
        CHECK(puna::to_hex(hash.finish()) == digest);
        if (const std::byte* in_place = source.borrow(part, layer))
          CHECK(std::memcmp(in_place, bytes.data(), bytes.size()) == 0);
      }
    }
  }
  for (int p = 0; p < puna::part_count; ++p)
    for (std::uint32_t layer = 0; layer < 64; ++layer)
      there += source.find(static_cast<puna::Part>(p), layer) != nullptr;
  CHECK(seen > 0);
  CHECK(seen == there);
}

}  // namespace puna_test
