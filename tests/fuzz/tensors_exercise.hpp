// Reads a container of named tensors twice, from memory and through a callback, and every element that it promises.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "puna/io/stored_tensor.hpp"

namespace puna_fuzz {

struct Input {
  const std::uint8_t* data;
  std::size_t size;
  static std::int32_t read(void* user, std::uint64_t offset, void* dst, std::size_t n) {
    const Input& in = *static_cast<const Input*>(user);
    if (offset > in.size || n > in.size - offset) std::abort();  // no reader may ask for what is not there
    std::memcpy(dst, in.data + offset, n);
    return 0;
  }
};

inline void read_all(const puna::StoredTensor& t) {
  if (t.bytes > t.file->size() || t.offset > t.file->size()) std::abort();
  if (!t.dtype || t.shape.empty() || t.shape.size() > 2 || t.bytes == 0) return;
  const auto row = static_cast<std::size_t>(puna::row_bytes(*t.dtype, t.columns()));
  std::vector<std::byte> rows(static_cast<std::size_t>(t.bytes));
  puna::read_tensor_rows(t, 0, t.rows(), rows.data(), row);
  if (const std::byte* place = puna::tensor_in_place(t))
    if (std::memcmp(place, rows.data(), rows.size()) != 0) std::abort();
}

template <class Container>
std::optional<std::size_t> open_and_read(std::shared_ptr<const puna::File> file) {
  try {
    const Container container(std::move(file));
    for (const puna::StoredTensor& t : container.tensors()) read_all(t);
    return container.tensors().size();
  } catch (const puna::Error& error) {
    if (error.code() == puna::Code::internal) std::abort();
    return std::nullopt;
  }
}

template <class Container>
void exercise_tensors(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return;
  Input in{data, size};
  const auto mapped = open_and_read<Container>(
      puna::File::from_memory({reinterpret_cast<const std::byte*>(data), size}, "fuzz"));
  const auto streamed = open_and_read<Container>(puna::File::from_callback(&in, &Input::read, size, "fuzz"));
  if (mapped != streamed) std::abort();
}

}  // namespace puna_fuzz
