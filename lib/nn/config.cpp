#include "puna/nn/config.hpp"

#include <cmath>

namespace puna {
namespace {

struct Check {
  const std::string& file;

  [[noreturn]] void bad(const char* field, const std::string& value, const std::string& rule) const {
    fail(Code::format, file + ": " + field + " is " + value + ", " + rule);
  }
  std::uint32_t count(const char* field, std::uint64_t value, std::uint64_t max) const {
    if (value == 0 || value > max)
      bad(field, std::to_string(value), "not in 1 to " + std::to_string(max));
    return static_cast<std::uint32_t>(value);
  }
  double positive(const char* field, double value, double max) const {
    if (!(value > 0.0 && value <= max))  // NaN fails this too
      bad(field, std::to_string(value), "not a number in (0, " + std::to_string(max) + "]");
    return value;
  }
};

}  // namespace

Config make_config(const Hyperparameters& h, const std::string& file) {
  const Check check{file};
  if (h.architecture != "llama")
    fail(Code::unsupported, file + ": architecture is \"" + h.architecture + "\", only \"llama\" is supported");
  Config c;
  c.D = check.count("embedding_length", h.dim, 1u << 20);
  c.F = check.count("feed_forward_length", h.ffn_dim, 1u << 22);
  c.N = check.count("block_count", h.layers, 1u << 12);
  c.H = check.count("head_count", h.heads, 1u << 14);
  c.K = check.count("head_count_kv", h.kv_heads, 1u << 14);
  c.V = check.count("vocab_size", h.vocab, 1u << 24);
  c.context = check.count("context_length", h.context, 1u << 30);
  if (c.H % c.K != 0)
    check.bad("head_count_kv", std::to_string(c.K), "which does not divide head_count " + std::to_string(c.H));
  if (h.head_dim == 0 && c.D % c.H != 0)
    check.bad("head_count", std::to_string(c.H), "which does not divide embedding_length " + std::to_string(c.D));
  c.E = check.count("head_dim", h.head_dim ? h.head_dim : c.D / c.H, 1u << 12);
  if (c.E % 2 != 0) check.bad("head_dim", std::to_string(c.E), "which is odd: rope rotates pairs");
  if (static_cast<std::uint64_t>(c.H) * c.E > (1u << 22))
    check.bad("head_dim", std::to_string(c.E), "too wide for " + std::to_string(c.H) + " heads");
  c.norm_epsilon = static_cast<float>(check.positive("layer_norm_rms_epsilon", h.norm_epsilon, 1.0));
  c.rope_theta = check.positive("rope_theta", h.rope_theta, 1e15);
  c.rope_scaling = h.rope_scaling;
  c.rope_original_context = c.context;
  if (h.rope_scaling != Hyperparameters::RopeScaling::none) {
    c.rope_factor = check.positive("rope_scaling factor", h.rope_factor, 1e6);
    if (h.rope_original_context)
      c.rope_original_context = check.count("rope_scaling original_context_length", h.rope_original_context, 1u << 30);
    c.yarn_beta_fast = check.positive("rope_scaling beta_fast", h.yarn_beta_fast, 1e6);
    c.yarn_beta_slow = check.positive("rope_scaling beta_slow", h.yarn_beta_slow, 1e6);
    if (h.yarn_attention_factor != 0.0)
      c.yarn_attention_factor = check.positive("rope_scaling attention_factor", h.yarn_attention_factor, 1e6);
  }
  return c;
}

PartShape part_shape(const Config& c, Part part) {
  switch (part) {
    case Part::token_embedding:
    case Part::output: return {c.V, c.D};
    case Part::attn_norm:
    case Part::ffn_norm:
    case Part::output_norm: return {1, c.D};
    case Part::wq: return {c.q_dim(), c.D};
    case Part::wk:
    case Part::wv: return {c.kv_dim(), c.D};
    case Part::wo: return {c.D, c.q_dim()};
    case Part::gate:
    case Part::up: return {c.F, c.D};
    case Part::down: return {c.D, c.F};
  }
  fail(Code::internal, "an unknown part");
}

}  // namespace puna
