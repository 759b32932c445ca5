#include "puna/io/check_weights.hpp"

#include <cmath>
#include <limits>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr std::uint64_t max_dimension = std::numeric_limits<std::int32_t>::max();

[[noreturn]] void refuse(const WeightSource& source, const std::string& what) {
  fail(Code::format, source.name() + ": " + what);
}

void check_count(const WeightSource& source, const char* field, std::uint64_t value) {
  if (value == 0 || value > max_dimension)
    refuse(source, std::string(field) + " is " + std::to_string(value) + ", not 1 to " + std::to_string(max_dimension));
}

void check_positive(const WeightSource& source, const char* field, double value) {
  if (!(value > 0) || !std::isfinite(value))
    refuse(source, std::string(field) + " is " + std::to_string(value) + ", not a positive number");
}

void check_numbers(const WeightSource& source, const Hyperparameters& h) {
  check_count(source, "model width", h.dim);
  check_count(source, "feed-forward width", h.ffn_dim);
  check_count(source, "layer count", h.layers);
  check_count(source, "head count", h.heads);
  check_count(source, "key head count", h.kv_heads);
  check_count(source, "vocabulary size", h.vocab);
  check_count(source, "context length", h.context);
  if (h.heads % h.kv_heads != 0)
    refuse(source, "head count " + std::to_string(h.heads) + " is no multiple of the key head count " +
                       std::to_string(h.kv_heads));
  if (h.head_dim == 0 && h.dim % h.heads != 0)
    refuse(source,
           "model width " + std::to_string(h.dim) + " is no multiple of the head count " + std::to_string(h.heads));
  if (h.head_dim > h.dim || (h.head_dim != 0 && h.heads > max_dimension / h.head_dim))
    refuse(source,
           "head width " + std::to_string(h.head_dim) + " is too large for " + std::to_string(h.heads) + " heads");
  check_positive(source, "norm epsilon", h.norm_epsilon);
  check_positive(source, "rope theta", h.rope_theta);
  check_positive(source, "rope scaling factor", h.rope_factor);
}

void check_part(const WeightSource& source, const Hyperparameters& h, Part part, std::uint32_t layer) {
  const WeightInfo* w = source.find(part, layer);
  if (!w) {
    if (part == Part::output) return;  // tied to the embedding
    refuse(source, "tensor " + std::string(part_name(part)) +
                       (part_is_per_layer(part) ? " of layer " + std::to_string(layer) : std::string()) +
                       " is missing");
  }
  const Shape want = expected_shape(h, part);
  if (w->rows != want.rows || w->columns != want.columns)
    refuse(source, "tensor " + quoted(w->name) + " is " + std::to_string(w->rows) + " x " + std::to_string(w->columns) +
                       ", but the hyperparameters make it " + std::to_string(want.rows) + " x " +
                       std::to_string(want.columns));
}

}  // namespace

std::string_view part_name(Part p) {
  static constexpr std::string_view names[part_count] = {"token_embd", "attn_norm", "attn_q",   "attn_k",
                                                         "attn_v",     "attn_output", "ffn_norm", "ffn_gate",
                                                         "ffn_up",     "ffn_down",  "output_norm", "output"};
  return names[static_cast<int>(p)];
}

Shape expected_shape(const Hyperparameters& h, Part part) {
  const std::uint64_t head = h.head_dim != 0 ? h.head_dim : h.heads != 0 ? h.dim / h.heads : 0;
  switch (part) {
    case Part::token_embedding: case Part::output: return {h.vocab, h.dim};
    case Part::attn_norm: case Part::ffn_norm: case Part::output_norm: return {1, h.dim};
    case Part::wq: return {h.heads * head, h.dim};
    case Part::wk: case Part::wv: return {h.kv_heads * head, h.dim};
    case Part::wo: return {h.dim, h.heads * head};
    case Part::gate: case Part::up: return {h.ffn_dim, h.dim};
    case Part::down: return {h.dim, h.ffn_dim};
  }
  return {};
}

void check_weights(const WeightSource& source) {
  const Hyperparameters& h = source.hyperparameters();
  check_numbers(source, h);
  // The first tensor that is missing ends the walk, so that a claim of a billion layers costs nothing.
  for (std::uint32_t layer = 0; layer < h.layers; ++layer)
    for (int p = 0; p < part_count; ++p)
      if (part_is_per_layer(static_cast<Part>(p))) check_part(source, h, static_cast<Part>(p), layer);
  for (const Part part : {Part::token_embedding, Part::output_norm, Part::output}) check_part(source, h, part, 0);
}

}  // namespace puna
