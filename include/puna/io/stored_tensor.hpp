// A tensor as a container of named tensors (safetensors, torch) stores it, and the one way to its elements.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "puna/io/file.hpp"
#include "puna/tensor/dtype.hpp"

namespace puna {

// The container's reader has checked that every element lies inside the file, and that bytes is no more than its size.
struct StoredTensor {
  std::string name;
  std::string type;                    // the container's spelling: "BF16", "torch.float16"
  std::optional<DType> dtype;          // set when it can serve as a weight
  std::vector<std::uint64_t> shape;    // outermost first
  std::vector<std::uint64_t> strides;  // in elements; empty: row after row without gaps
  std::uint64_t offset = 0;            // of the first element, in the file's bytes
  std::uint64_t bytes = 0;             // of the elements, packed
  std::shared_ptr<const File> file;

  std::uint64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  std::uint64_t columns() const { return shape.empty() ? 1 : shape.back(); }
};

std::string shape_text(const std::vector<std::uint64_t>& shape);  // "[4, 8]"

// The bytes in place, packed row after row; null when they are strided or the file is not in memory.
const std::byte* tensor_in_place(const StoredTensor& tensor);

// Rows [row, row + count) of a vector or matrix with a dtype, each packed, dst_stride bytes apart.
void read_tensor_rows(const StoredTensor& tensor, std::uint64_t row, std::uint64_t count, std::byte* dst,
                      std::uint64_t dst_stride);

}  // namespace puna
