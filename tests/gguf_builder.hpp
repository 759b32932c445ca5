// Writes GGUF bytes, right or wrong: every count, length and offset may be set to a lie.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "puna/io/file.hpp"

namespace puna_test {

using Bytes = std::vector<std::byte>;

template <class T>
void put(Bytes& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  const auto at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}
inline void put_bytes(Bytes& out, std::string_view bytes) {
  const auto* p = reinterpret_cast<const std::byte*>(bytes.data());
  out.insert(out.end(), p, p + bytes.size());
}
inline void put_text(Bytes& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  put_bytes(out, text);
}

// A file that keeps its bytes alive (a plain from_memory only borrows them).
inline std::shared_ptr<const puna::File> in_memory(Bytes bytes) {
  const auto kept = std::make_shared<Bytes>(std::move(bytes));
  const auto file = puna::File::from_memory(*kept);
  return {file.get(), [kept, file](const puna::File*) {}};
}

struct GgufBuilder {
  struct Entry {
    std::string key;
    Bytes value;  // type and value
  };
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::uint32_t type = 0;
    Bytes data;
    std::optional<std::uint64_t> offset;  // instead of the true one
    std::optional<std::uint32_t> n_dims;
  };

  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count, entry_count;
  std::vector<Entry> entries;
  std::vector<Tensor> tensors;
  std::uint64_t alignment = 32;  // what is laid out by; general.alignment is an entry like others

  GgufBuilder& raw(std::string key, Bytes value) {
    for (Entry& e : entries)
      if (e.key == key) {
        e.value = std::move(value);
        return *this;
      }
    entries.push_back({std::move(key), std::move(value)});
    return *this;
  }
  template <class T>
  GgufBuilder& scalar(std::string key, std::uint32_t type, T value) {
    Bytes v;
    put<std::uint32_t>(v, type);
    put<T>(v, value);
    return raw(std::move(key), std::move(v));
  }
  GgufBuilder& u32(std::string key, std::uint32_t v) { return scalar(std::move(key), 4, v); }
  GgufBuilder& i32(std::string key, std::int32_t v) { return scalar(std::move(key), 5, v); }
  GgufBuilder& u64(std::string key, std::uint64_t v) { return scalar(std::move(key), 10, v); }
  GgufBuilder& f32(std::string key, float v) { return scalar(std::move(key), 6, v); }
  GgufBuilder& f64(std::string key, double v) { return scalar(std::move(key), 12, v); }
  GgufBuilder& boolean(std::string key, bool v) { return scalar(std::move(key), 7, static_cast<std::uint8_t>(v)); }
  GgufBuilder& text(std::string key, std::string_view v) {
    Bytes b;
    put<std::uint32_t>(b, 8);
    put_text(b, v);
    return raw(std::move(key), std::move(b));
  }
  GgufBuilder& texts(std::string key, const std::vector<std::string>& v) {
    Bytes b;
    put<std::uint32_t>(b, 9);
    put<std::uint32_t>(b, 8);
    put<std::uint64_t>(b, v.size());
    for (const auto& s : v) put_text(b, s);
    return raw(std::move(key), std::move(b));
  }
  template <class T>
  GgufBuilder& array(std::string key, std::uint32_t element, const std::vector<T>& v) {
    Bytes b;
    put<std::uint32_t>(b, 9);
    put<std::uint32_t>(b, element);
    put<std::uint64_t>(b, v.size());
    for (const T x : v) put<T>(b, x);
    return raw(std::move(key), std::move(b));
  }
  GgufBuilder& remove(std::string_view key) {
    std::erase_if(entries, [&](const Entry& e) { return e.key == key; });
    return *this;
  }
  GgufBuilder& remove_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
    return *this;
  }
  Tensor& tensor(std::string_view name) {
    for (Tensor& t : tensors)
      if (t.name == name) return t;
    tensors.push_back({std::string(name), {}, 0, {}, {}, {}});
    return tensors.back();
  }
  GgufBuilder& f32_tensor(std::string name, std::vector<std::uint64_t> dims) {
    std::uint64_t n = 1;
    for (const auto d : dims) n *= d;
    Tensor t{std::move(name), std::move(dims), 0, {}, {}, {}};
    for (std::uint64_t i = 0; i < n; ++i) put<float>(t.data, static_cast<float>(i % 7) - 3.0f);
    tensors.push_back(std::move(t));
    return *this;
  }

  Bytes header() const {
    Bytes out;
    put_bytes(out, "GGUF");
    put<std::uint32_t>(out, version);
    put<std::uint64_t>(out, tensor_count.value_or(tensors.size()));
    put<std::uint64_t>(out, entry_count.value_or(entries.size()));
    for (const Entry& e : entries) {
      put_text(out, e.key);
      out.insert(out.end(), e.value.begin(), e.value.end());
    }
    std::uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      put_text(out, t.name);
      put<std::uint32_t>(out, t.n_dims.value_or(static_cast<std::uint32_t>(t.dims.size())));
      for (const auto d : t.dims) put<std::uint64_t>(out, d);
      put<std::uint32_t>(out, t.type);
      put<std::uint64_t>(out, t.offset.value_or(offset));
      offset += (t.data.size() + alignment - 1) / alignment * alignment;
    }
    return out;
  }

  Bytes build() const {
    Bytes out = header();
    for (const Tensor& t : tensors) {
      out.resize((out.size() + alignment - 1) / alignment * alignment);
      out.insert(out.end(), t.data.begin(), t.data.end());
    }
    return out;
  }

  // A whole model: width 8, 2 heads of 4, 1 key head, feed-forward 12, 2 layers, 6 pieces.
  static GgufBuilder llama() {
    GgufBuilder b;
    b.text("general.architecture", "llama");
    b.u32("llama.context_length", 16).u32("llama.embedding_length", 8).u32("llama.block_count", 2);
    b.u32("llama.feed_forward_length", 12).u32("llama.rope.dimension_count", 4);
    b.u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1);
    b.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    b.text("tokenizer.ggml.model", "llama");
    b.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab"});
    b.array<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -1, -2, -3});
    b.array<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 1});
    b.f32_tensor("token_embd.weight", {8, 6}).f32_tensor("output_norm.weight", {8});
    for (const char* layer : {"blk.0.", "blk.1."}) {
      const std::string at = layer;
      b.f32_tensor(at + "attn_norm.weight", {8}).f32_tensor(at + "attn_q.weight", {8, 8});
      b.f32_tensor(at + "attn_k.weight", {8, 4}).f32_tensor(at + "attn_v.weight", {8, 4});
      b.f32_tensor(at + "attn_output.weight", {8, 8}).f32_tensor(at + "ffn_norm.weight", {8});
      b.f32_tensor(at + "ffn_gate.weight", {8, 12}).f32_tensor(at + "ffn_up.weight", {8, 12});
      b.f32_tensor(at + "ffn_down.weight", {12, 8});
    }
    return b;
  }
};

}  // namespace puna_test
