// Helpers of the tests of writing: a source passed whole into a sink, and two sources compared bit by bit.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "io_containers.hpp"
#include "puna/io/weight_sink.hpp"
#include "puna/text/tokenizer.hpp"

namespace puna_test {

// As llama.cpp orders them: what belongs to no layer, then layer by layer.
inline std::vector<puna::SinkTensor> tensors_of(const puna::WeightSource& source) {
  std::vector<puna::SinkTensor> out;
  const auto add = [&](puna::Part part, std::uint32_t layer) {
    if (const puna::WeightInfo* w = source.find(part, layer)) out.push_back({part, layer, w->type, w->rows, w->columns});
  };
  for (const auto part : {puna::Part::token_embedding, puna::Part::output_norm, puna::Part::output}) add(part, 0);
  for (std::uint32_t layer = 0; layer < source.hyperparameters().layers; ++layer)
    for (int p = 0; p < puna::part_count; ++p)
      if (puna::part_is_per_layer(static_cast<puna::Part>(p))) add(static_cast<puna::Part>(p), layer);
  return out;
}

// Every tensor, `step` bytes at a time (0: a tensor at once).
inline void pour(const puna::WeightSource& source, const std::vector<puna::SinkTensor>& tensors, puna::WeightSink& sink,
                 std::size_t step = 0) {
  for (const puna::SinkTensor& t : tensors) {
    const std::string bytes = copy_weight(source, t.part, t.layer, t.rows);
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = step == 0 ? bytes.size() : std::min(step, bytes.size() - at);
      sink.write(reinterpret_cast<const std::byte*>(bytes.data()) + at, n);
      at += n;
    }
  }
}

inline void write_all(const puna::WeightSource& source, const puna::ModelDescription& model, puna::WeightSink& sink,
                      std::size_t step = 0) {
  const auto tensors = tensors_of(source);
  sink.begin(model, tensors);
  pour(source, tensors, sink, step);
  sink.finish();
}

inline void check_same_weights(const puna::WeightSource& a, const puna::WeightSource& b) {
  REQUIRE(a.hyperparameters().layers == b.hyperparameters().layers);
  for (std::uint32_t layer = 0; layer < a.hyperparameters().layers; ++layer)
    for (int p = 0; p < puna::part_count; ++p) {
      const auto part = static_cast<puna::Part>(p);
      const puna::WeightInfo* x = a.find(part, layer);
      const puna::WeightInfo* y = b.find(part, layer);
      CAPTURE(std::string(puna::part_name(part)));
      CAPTURE(layer);
      REQUIRE((x != nullptr) == (y != nullptr));
      if (!x) continue;
      CHECK(x->type == y->type);
      REQUIRE(x->rows == y->rows);
      REQUIRE(x->columns == y->columns);
      CHECK(copy_weight(a, part, layer, x->rows) == copy_weight(b, part, layer, y->rows));
    }
}

// Numbers are those of float32: what GGUF holds.
inline void check_same_hyperparameters(const puna::Hyperparameters& a, const puna::Hyperparameters& b) {
  CHECK(a.dim == b.dim);
  CHECK(a.ffn_dim == b.ffn_dim);
  CHECK(a.layers == b.layers);
  CHECK(a.heads == b.heads);
  CHECK(a.kv_heads == b.kv_heads);
  const auto head = [](const puna::Hyperparameters& h) { return h.head_dim != 0 ? h.head_dim : h.dim / h.heads; };
  CHECK(head(a) == head(b));
  CHECK(a.vocab == b.vocab);
  CHECK(a.context == b.context);
  CHECK(static_cast<float>(a.norm_epsilon) == static_cast<float>(b.norm_epsilon));
  CHECK(static_cast<float>(a.rope_theta) == static_cast<float>(b.rope_theta));
  CHECK(a.rope_scaling == b.rope_scaling);
  CHECK(static_cast<float>(a.rope_factor) == static_cast<float>(b.rope_factor));
  const auto original = [](const puna::Hyperparameters& h) {
    return h.rope_original_context != 0 ? h.rope_original_context : h.context;
  };
  // Only YaRN computes with it, and Hugging Face's linear form has no place for it.
  if (a.rope_scaling == puna::Hyperparameters::RopeScaling::yarn) CHECK(original(a) == original(b));
  CHECK(static_cast<float>(a.yarn_beta_fast) == static_cast<float>(b.yarn_beta_fast));
  CHECK(static_cast<float>(a.yarn_beta_slow) == static_cast<float>(b.yarn_beta_slow));
  CHECK(a.yarn_attention_factor == doctest::Approx(b.yarn_attention_factor).epsilon(1e-6));
}

inline void check_same_vocab(const puna::VocabData& a, const puna::VocabData& b) {
  CHECK(a.pieces == b.pieces);
  CHECK(a.scores == b.scores);
  CHECK(a.types == b.types);
  CHECK(std::array{a.bos, a.eos, a.unknown, a.pad} == std::array{b.bos, b.eos, b.unknown, b.pad});
  CHECK(std::array{a.prefix, a.suffix, a.middle, a.eot} == std::array{b.prefix, b.suffix, b.middle, b.eot});
  CHECK(std::array{a.add_bos, a.add_eos, a.add_space_prefix, a.remove_extra_whitespaces} ==
        std::array{b.add_bos, b.add_eos, b.add_space_prefix, b.remove_extra_whitespaces});
  CHECK(a.chat_template == b.chat_template);
}

inline std::string sha256_of(const fs::path& path) {
  const auto bytes = read_file(path);
  puna::Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return puna::to_hex(hash.finish());
}

inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(path_text(entry.path().filename()));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace puna_test
