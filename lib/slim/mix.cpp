#include "puna/slim/mix.hpp"

#include <algorithm>
#include <cctype>

namespace puna {
namespace {

constexpr Mix all_mixes[] = {
    {"f32", 0, DType::f32},       {"f16", 1, DType::f16},       {"bf16", 32, DType::bf16},    {"q4_0", 2, DType::q4_0},
    {"q4_1", 3, DType::q4_1},     {"q5_0", 8, DType::q5_0},     {"q5_1", 9, DType::q5_1},     {"q8_0", 7, DType::q8_0},
    {"q2_k", 10, DType::q2_k},    {"q2_k_s", 21, DType::q2_k},  {"q3_k_s", 11, DType::q3_k},  {"q3_k_m", 12, DType::q3_k},
    {"q3_k_l", 13, DType::q3_k},  {"q4_k_s", 14, DType::q4_k},  {"q4_k_m", 15, DType::q4_k},  {"q5_k_s", 16, DType::q5_k},
    {"q5_k_m", 17, DType::q5_k},  {"q6_k", 18, DType::q6_k},    {"iq4_nl", 25, DType::iq4_nl}, {"iq4_xs", 30, DType::iq4_xs},
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// '*' stands for any run of characters.
bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// What the choice for a tensor depends on, as llama.cpp counts it.
struct Chooser {
  const Config& c;
  const MixRequest& request;
  bool has_output;
  std::uint32_t values = 0, downs = 0;  // attn_v and ffn_down tensors seen so far

  std::string_view mix() const { return request.mix->name; }
  bool is(std::initializer_list<std::string_view> names) const { return std::find(names.begin(), names.end(), mix()) != names.end(); }
  bool seventy() const { return c.N == 80 && c.H != c.K; }
  // The first and last eighth of the layers, and every third between.
  static bool more_bits(std::uint32_t i, std::uint32_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

  DType head(DType type, std::uint64_t columns) const {
    if (columns % 256 != 0) return DType::q8_0;
    return type == DType::q8_0 ? type : DType::q6_k;
  }

  DType value(DType type) {
    const std::uint32_t i = values++;
    const bool grouped = c.G() >= 4;
    if (mix() == "q2_k") type = grouped ? DType::q4_k : DType::q3_k;
    else if (mix() == "q2_k_s" && grouped) type = DType::q4_k;
    else if (mix() == "q3_k_m") type = i < 2 ? DType::q5_k : DType::q4_k;
    else if (mix() == "q3_k_l") type = DType::q5_k;
    else if (is({"iq4_nl", "iq4_xs"}) && grouped) type = DType::q5_k;
    else if (is({"q4_k_m", "q5_k_m"}) && more_bits(i, c.N)) type = DType::q6_k;
    else if (mix() == "q4_k_s" && i < 4) type = DType::q5_k;
    // 70B's values are an eighth of its queries: more bits cost nearly nothing there.
    if (seventy() && (type == DType::q3_k || type == DType::q4_k)) type = DType::q5_k;
    return type;
  }

  DType down(DType type) {
    const std::uint32_t i = downs++, n = c.N;
    const bool first = i < n / 8;
    if (mix() == "q2_k") return DType::q3_k;
    if (mix() == "q2_k_s") return first ? DType::q4_k : type;
    if (mix() == "q3_k_m") return i < n / 16 ? DType::q5_k : DType::q4_k;
    if (mix() == "q3_k_l") return DType::q5_k;
    if (is({"q4_k_m", "q5_k_m"})) return more_bits(i, n) ? DType::q6_k : type;
    if (!first) return type;
    if (is({"iq4_nl", "iq4_xs"}) && !request.has_importance) return DType::q5_k;
    if (mix() == "q4_k_s") return DType::q5_k;
    if (mix() == "q4_0" && request.has_importance) return DType::q4_1;
    if (mix() == "q5_0" && request.has_importance) return DType::q5_1;
    return type;
  }

  DType attention_output(DType type) const {
    if (mix() == "q2_k") return DType::q3_k;
    if (mix() == "q3_k_m") return DType::q4_k;
    if (mix() == "q3_k_l") return DType::q5_k;
    return type;
  }

  DType choose(Part part, std::uint64_t columns) {
    const DType base = request.mix->base;
    if (request.pure || !info(base).quantized()) return base;
    if (part == Part::output || (part == Part::token_embedding && !has_output)) return head(base, columns);
    if (part == Part::wv) return value(base);
    if (part == Part::down) return down(base);
    if (part == Part::wo) return attention_output(base);
    return base;
  }
};

// A row that the block does not divide gets a type that does.
DType fallback(DType type, std::uint64_t columns) {
  if (columns % info(type).block == 0) return type;
  switch (type) {
    case DType::q2_k:
    case DType::q3_k:
    case DType::iq4_xs: type = DType::iq4_nl; break;
    case DType::q4_k: type = DType::q5_0; break;
    case DType::q5_k: type = DType::q5_1; break;
    case DType::q6_k: type = DType::q8_0; break;
    default: break;
  }
  return columns % info(type).block == 0 ? type : DType::f16;
}

bool is_vector(Part part) { return part == Part::attn_norm || part == Part::ffn_norm || part == Part::output_norm; }

}  // namespace

std::span<const Mix> mixes() { return all_mixes; }

const Mix& find_mix(std::string_view name) {
  std::string wanted = lower(name);
  // llama.cpp's short names.
  if (wanted == "q3_k" || wanted == "q4_k" || wanted == "q5_k") wanted += "_m";
  std::string known;
  for (const Mix& mix : all_mixes) {
    if (mix.name == wanted) return mix;
    known += (known.empty() ? "" : ", ") + std::string(mix.name);
  }
  fail(Code::argument, "type is \"" + std::string(name) + "\", not one of " + known);
}

TypeOverride parse_override(std::string_view text) {
  const std::size_t equals = text.rfind('=');
  const auto type = equals == std::string_view::npos ? std::nullopt : dtype_from_name(text.substr(equals + 1));
  if (equals == 0 || !type || *type == DType::q8_f32)
    fail(Code::argument, "an override is \"" + std::string(text) + "\", not PATTERN=TYPE such as blk.*.ffn_down.weight=q6_K");
  return {std::string(text.substr(0, equals)), *type};
}

std::string gguf_tensor_name(Part part, std::uint32_t layer) {
  const std::string name = std::string(part_name(part)) + ".weight";
  return part_is_per_layer(part) ? "blk." + std::to_string(layer) + "." + name : name;
}

std::vector<ChosenTensor> choose_types(const WeightSource& source, const Config& config, const MixRequest& request) {
  std::vector<ChosenTensor> tensors;
  const auto add = [&](Part part, std::uint32_t layer) {
    if (const WeightInfo* found = source.find(part, layer))
      tensors.push_back({part, layer, found, found->type, gguf_tensor_name(part, layer)});
  };
  // By name within a layer: that is the order llama.cpp walks and counts in.
  for (Part part : {Part::output, Part::output_norm, Part::token_embedding}) add(part, 0);
  for (std::uint32_t layer = 0; layer < config.N; ++layer)
    for (Part part : {Part::wk, Part::attn_norm, Part::wo, Part::wq, Part::wv, Part::down, Part::gate, Part::ffn_norm, Part::up})
      add(part, layer);
  for (const TypeOverride& o : request.overrides)
    if (std::none_of(tensors.begin(), tensors.end(), [&](const ChosenTensor& t) { return matches(o.pattern, t.name); }))
      fail(Code::argument, "the override \"" + o.pattern + "\" names no tensor of " + source.name());
  Chooser chooser{config, request, source.find(Part::output, 0) != nullptr};
  for (ChosenTensor& t : tensors) {
    if (is_vector(t.part)) {
      t.type = DType::f32;
      continue;
    }
    if (t.type == DType::q8_f32) t.type = DType::f32;  // a type of memory, not of files
    if (request.mix) t.type = fallback(chooser.choose(t.part, t.info->columns), t.info->columns);
    for (const TypeOverride& o : request.overrides)
      if (matches(o.pattern, t.name)) t.type = fallback(o.type, t.info->columns);
  }
  return tensors;
}

}  // namespace puna
