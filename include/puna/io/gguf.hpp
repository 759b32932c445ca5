// GGUF v2 and v3, little-endian: the header as a checked structure. Arrays and tensor data stay in the file.
//
// Layout: magic "GGUF", u32 version, u64 tensors, u64 entries; entries (key, u32 type, value); tensor infos (name, u32
// n_dims, u64 dims, u32 type, u64 offset); padding to general.alignment; data. A string is a u64 length and its bytes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "puna/io/file.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

// A packed file (tensor/pack.hpp): general.architecture, and the key with the rows that stand side by side.
inline constexpr std::string_view packed_architecture = "puna-packed-llama";
inline constexpr std::string_view packed_rows_key = "puna.pack.rows";

enum class GgufType : std::uint32_t {
  u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10, i64 = 11,
  f64 = 12
};
inline constexpr std::uint32_t gguf_type_count = 13;
std::string_view gguf_type_name(GgufType type);

// Where the elements of an array lie; every one of them is inside the file and well formed.
struct GgufArray {
  GgufType element = GgufType::u8;
  std::uint64_t count = 0;
  std::uint64_t offset = 0;  // of the first element in the file
  std::uint64_t bytes = 0;
};

struct GgufEntry {
  std::string key;
  GgufType type = GgufType::u8;
  // Integers by their sign; f32 is exact as double.
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray> value;
};

// A tensor type of ggml, whether this library computes with it or not.
struct GgmlType {
  std::uint32_t number;
  std::string_view name;  // "Q4_K"
  std::uint32_t block;
  std::uint32_t block_bytes;
};
const GgmlType* find_ggml_type(
    std::uint32_t number);  // null for a number that ggml had not given when this was written

struct GgufTensor {
  std::string name;
  std::uint32_t n_dims = 0;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};  // dims[0] is the contiguous axis
  std::uint32_t type = 0;                         // ggml's number
  std::uint64_t offset = 0;                       // in the file
  std::uint64_t bytes = 0;                        // 0: the type is not known, so neither is the size

  std::uint64_t columns() const { return dims[0]; }
  std::uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }  // checked: the product of all four fits
};

class Gguf {
 public:
  // Throws Error(format | unsupported | io) naming file, field and value. Memory stays in proportion to the bytes that
  // are really there, whatever the counts claim.
  explicit Gguf(std::shared_ptr<const File> file);

  const std::shared_ptr<const File>& file() const { return file_; }
  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }
  const std::vector<GgufEntry>& entries() const { return entries_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufEntry* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;

  // Nothing when the key is absent; Error(format) when its value has another type or is not exactly of this one.
  std::optional<std::uint64_t> whole(std::string_view key) const;  // any integer type, not negative
  std::optional<double> number(std::string_view key) const;        // f32 or f64, finite; any integer
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  // Arrays, of at most max_array_elements: what a vocabulary may have.
  static constexpr std::uint64_t max_array_elements = std::uint64_t{1} << 20;
  std::optional<std::vector<std::string>> texts(std::string_view key) const;
  std::optional<std::vector<float>> floats(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> integers(std::string_view key) const;  // any integer element that fits

  // "FILE: KEY: why".
  [[noreturn]] void refuse(std::string_view key, const std::string& why) const;
  [[noreturn]] void unsupported(std::string_view key, const std::string& why) const;

  // The value as text, for metadata listings: arrays as JSON, long ones cut with a count.
  std::string value_text(const GgufEntry& entry) const;

 private:
  friend class GgufParser;
  const GgufArray* array(std::string_view key, std::string_view wanted) const;

  std::shared_ptr<const File> file_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::size_t> entry_order_;   // by key
  std::vector<std::size_t> tensor_order_;  // by name
};

bool looks_like_gguf(const File& file);
std::unique_ptr<WeightSource> open_gguf(std::shared_ptr<const File> file);
Listing inspect_gguf(std::shared_ptr<const File> file);

}  // namespace puna
