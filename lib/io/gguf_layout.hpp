// A GGUF file before its tensor data: the bytes of the header, and where every tensor goes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "puna/io/gguf.hpp"
#include "puna/io/weight_sink.hpp"

namespace puna::io {

// The entries in their order, each as the bytes that stand in the file.
class GgufEntries {
 public:
  // Setting a key that is there takes it out and puts it last, as ggml does.
  void set_u32(std::string_view key, std::uint64_t value);
  void set_f32(std::string_view key, double value);
  void set_bool(std::string_view key, bool value);
  void set_text(std::string_view key, std::string_view value);
  void set_texts(std::string_view key, std::span<const std::string> values);
  void set_floats(std::string_view key, std::span<const float> values);
  void set_i32s(std::string_view key, std::span<const std::int32_t> values);
  void copy(const Gguf& source, const GgufEntry& entry);  // bit for bit
  void remove(std::string_view key);

  std::uint64_t count() const { return entries_.size(); }
  std::string take_bytes();

 private:
  std::string& add(std::string_view key, GgufType type);
  struct Entry {
    std::string key, bytes;
  };
  std::vector<Entry> entries_;
};

// Everything that the file says about the model, from its GGUF source or from the description.
GgufEntries gguf_entries(const ModelDescription& model);

struct GgufLayout {
  std::string header;                  // up to the data, padding included
  std::uint64_t alignment = 32;
  std::vector<std::uint64_t> offsets;  // of the tensors, from the file's beginning
  std::vector<std::uint64_t> bytes;
  std::uint64_t size = 0;              // of the whole file
};
GgufLayout gguf_layout(const ModelDescription& model, std::span<const SinkTensor> tensors);

// "blk.3.attn_q.weight".
std::string gguf_tensor_name(Part part, std::uint32_t layer);
// Bytes of an announced tensor; Error(internal) for one that cannot be.
std::uint64_t sink_tensor_bytes(const SinkTensor& tensor, const std::string& output);

}  // namespace puna::io
