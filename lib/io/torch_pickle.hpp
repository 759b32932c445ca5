// Reads a pickle that describes tensors, and nothing else: no object is made and no code is named beyond a fixed list.
//
// Values are small and refer to tables by index, so that deep nesting, sharing and cycles cost no stack and no copies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "puna/tensor/dtype.hpp"

namespace puna::io {

// Element types as torch names them: by the storage class of old, or by dtype.
struct TorchType {
  std::string_view storage;  // "HalfStorage"; empty for a type that has none
  std::string_view dtype;    // "float16"
  std::uint32_t bytes;
  std::optional<DType> weight;
};
const TorchType& torch_type(std::uint32_t index);

enum class PickleKind : std::uint8_t {
  none, boolean, whole, number, string, big, tuple, list, dict, storage, tensor, global, mark
};

struct PickleValue {
  PickleKind kind = PickleKind::none;
  std::uint32_t index = 0;  // into the table of its kind
  union {
    std::int64_t whole = 0;  // whole, boolean
    double number;
  };
};

struct PickleStorage {
  std::string_view key;
  std::uint32_t type = 0;  // torch_type; untyped_storage for raw bytes
  std::uint64_t elements = 0;
};
inline constexpr std::uint32_t untyped_storage = ~0u;

struct PickleTensor {
  std::uint32_t storage = 0;
  std::uint32_t type = 0;    // torch_type
  std::uint64_t offset = 0;  // in elements of the type
  std::vector<std::uint64_t> shape, strides;
};

struct Pickle {
  // Views point into the text that was read.
  std::vector<std::string_view> strings;
  std::vector<std::vector<PickleValue>> sequences;  // tuples and lists
  std::vector<std::vector<std::pair<PickleValue, PickleValue>>> dicts;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  PickleValue root;
};

// Throws Error(format) for what is no pickle or passes a limit, Error(unsupported) for every opcode or global beyond
// tensors, naming it and its offset. `file` begins the messages.
Pickle read_pickle(std::string_view text, const std::string& file);

}  // namespace puna::io
