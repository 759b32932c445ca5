#include "puna/io/stored_tensor.hpp"

#include <cstring>

namespace puna {

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ", ";
    if (i == 8) return out + "...]";
    out += std::to_string(shape[i]);
  }
  return out + "]";
}

const std::byte* tensor_in_place(const StoredTensor& tensor) {
  if (!tensor.strides.empty() || !tensor.file || !tensor.file->data()) return nullptr;
  return tensor.file->data() + tensor.offset;
}

void read_tensor_rows(const StoredTensor& tensor, std::uint64_t row, std::uint64_t count, std::byte* dst,
                      std::uint64_t dst_stride) {
  if (!tensor.dtype || row > tensor.rows() || count > tensor.rows() - row)
    fail(Code::internal, tensor.name + ": rows that are not there");
  const std::uint64_t size = info(*tensor.dtype).block_bytes;
  const std::uint64_t columns = tensor.columns();
  const std::uint64_t packed = columns * size;
  if (tensor.strides.empty() && dst_stride == packed) {
    tensor.file->read(tensor.offset + row * packed, dst, static_cast<std::size_t>(count * packed));
    return;
  }
  const bool matrix = tensor.shape.size() == 2;
  const std::uint64_t row_step = !matrix ? 0 : tensor.strides.empty() ? columns : tensor.strides[0];
  const std::uint64_t column_step = tensor.strides.empty() || columns <= 1 ? 1 : tensor.strides.back();
  for (std::uint64_t r = row; r < row + count; ++r, dst += dst_stride) {
    const std::uint64_t start = tensor.offset + r * row_step * size;
    if (column_step == 1) {
      tensor.file->read(start, dst, static_cast<std::size_t>(packed));
      continue;
    }
    for (std::uint64_t c = 0; c < columns; ++c) {
      const std::uint64_t at = start + c * column_step * size;
      if (const std::byte* data = tensor.file->data())
        std::memcpy(dst + c * size, data + at, static_cast<std::size_t>(size));
      else
        tensor.file->read(at, dst + c * size, static_cast<std::size_t>(size));
    }
  }
}

}  // namespace puna
