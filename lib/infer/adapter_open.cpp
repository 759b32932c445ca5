// Adapters on disk: PEFT's folder (adapter_config.json, adapter_model.safetensors) and llama.cpp's GGUF.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>

#include "puna/infer/adapter.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/json.hpp"
#include "puna/io/safetensors.hpp"
#include "puna/tensor/codec.hpp"

namespace puna {
namespace {

constexpr Part adaptable[] = {Part::wq, Part::wk, Part::wv, Part::wo, Part::gate, Part::up, Part::down, Part::output};
constexpr std::uint32_t max_rank = 65536;

std::string_view peft_name(Part part) {
  switch (part) {
    case Part::wq: return "self_attn.q_proj";
    case Part::wk: return "self_attn.k_proj";
    case Part::wv: return "self_attn.v_proj";
    case Part::wo: return "self_attn.o_proj";
    case Part::gate: return "mlp.gate_proj";
    case Part::up: return "mlp.up_proj";
    case Part::down: return "mlp.down_proj";
    default: return "lm_head";
  }
}

// "4" and nothing else.
bool read_layer(std::string_view& text, std::string_view before, std::string_view after, std::uint32_t& layer) {
  if (!text.starts_with(before)) return false;
  text.remove_prefix(before.size());
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!text.starts_with(after)) return false;
  text.remove_prefix(after.size());
  return true;
}

struct Place {
  Part part;
  std::uint32_t layer;
  bool operator<(const Place& o) const { return part != o.part ? part < o.part : layer < o.layer; }
};
struct Half2 {  // the matrices of a module while they are collected
  const void* a = nullptr;
  const void* b = nullptr;
  const void* m = nullptr;  // DoRA's magnitudes
};

class Opener {
 public:
  Opener(const std::string& path, const Config& config, Memory& memory) : path_(path), config_(config), memory_(memory) {}

  std::vector<Adapter::Module> peft();
  std::vector<Adapter::Module> gguf(const Gguf& file);

 private:
  Adapter::Module module(Place at, const std::string& name, std::uint64_t r, std::uint64_t a_columns, std::uint64_t b_rows, std::uint64_t b_columns);
  void floats(const StoredTensor& t, Buffer<float>& to);
  void meta_rows(Part part, std::size_t width, Buffer<float>& x);
  void magnitudes(const StoredTensor* t, const std::string& name, Adapter::Module& m);

  const std::string& path_;
  const Config& config_;
  Memory& memory_;
};

Adapter::Module Opener::module(Place at, const std::string& name, std::uint64_t r, std::uint64_t a_columns, std::uint64_t b_rows,
                               std::uint64_t b_columns) {
  const PartShape shape = part_shape(config_, at.part);
  if (part_is_per_layer(at.part) && at.layer >= config_.N)
    fail(Code::format, path_ + ": " + name + " is of layer " + std::to_string(at.layer) + ", the model has " + std::to_string(config_.N));
  if (r == 0 || r > max_rank || b_columns != r || a_columns != shape.columns || b_rows != shape.rows)
    fail(Code::format, path_ + ": " + name + " is [" + std::to_string(r) + ", " + std::to_string(a_columns) + "] and [" + std::to_string(b_rows) + ", " +
                           std::to_string(b_columns) + "], the model's is [" + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) + "]");
  Adapter::Module m{at.part, at.layer, static_cast<std::uint32_t>(r), 0, {}, {}};
  m.a = Buffer<float>(memory_, size_product(r, a_columns), "adapter", Raw{});
  m.b = Buffer<float>(memory_, size_product(r, b_rows), "adapter", Raw{});
  return m;
}

void Opener::floats(const StoredTensor& t, Buffer<float>& to) {
  if (!t.dtype || info(*t.dtype).quantized()) fail(Code::unsupported, path_ + ": tensor " + t.name + " is " + t.type + ", not f32, f16 or bf16");
  std::vector<std::byte> row(static_cast<std::size_t>(row_bytes(*t.dtype, t.columns())));
  for (std::uint64_t r = 0; r < t.rows(); ++r) {
    read_tensor_rows(t, r, 1, row.data(), row.size());
    decode_row(*t.dtype, row.data(), to.data() + r * t.columns(), static_cast<std::size_t>(t.columns()));
  }
}

// Rows of q and k: Hugging Face's row s E/2 + j of a head is Meta's 2 j + s.
void Opener::meta_rows(Part part, std::size_t width, Buffer<float>& x) {
  if (part != Part::wq && part != Part::wk) return;
  const std::size_t E = config_.E, heads = x.size() / width / E;
  Buffer<float> meta(memory_, x.size(), "adapter", Raw{});
  for (std::size_t h = 0; h < heads; ++h)
    for (std::size_t s = 0; s < 2; ++s)
      for (std::size_t j = 0; j < E / 2; ++j)
        std::copy_n(x.data() + (h * E + s * E / 2 + j) * width, width, meta.data() + (h * E + 2 * j + s) * width);
  x = std::move(meta);
}

void Opener::magnitudes(const StoredTensor* t, const std::string& name, Adapter::Module& m) {
  if (!t) fail(Code::format, path_ + ": " + name + " stands without its lora_magnitude_vector, use_dora is true");
  const std::uint64_t rows = m.b.size() / m.rank;
  if (t->shape.size() != 1 || t->shape[0] != rows)
    fail(Code::format, path_ + ": tensor " + t->name + " is no vector of " + std::to_string(rows) + " values, one for each row");
  m.m = Buffer<float>(memory_, static_cast<std::size_t>(rows), "adapter", Raw{});
  floats(*t, m.m);
  meta_rows(m.part, 1, m.m);
}

std::vector<Adapter::Module> Opener::peft() {
  const std::string config_path = path_join(path_, "adapter_config.json");
  const Json json = read_json_file(config_path);
  const JsonFields fields(json, config_path);
  if (fields.string("peft_type").value_or("") != "LORA") fields.refuse("peft_type", "LORA", Code::unsupported);
  for (const char* flag : {"fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"})
    if (fields.boolean(flag).value_or(false)) fields.refuse(flag, "false", Code::unsupported);
  for (const char* map : {"rank_pattern", "alpha_pattern"})
    if (const auto object = fields.object(map); object && !object->json().members()->empty()) fields.refuse(map, "empty", Code::unsupported);
  if (const auto bias = fields.string("bias"); bias && *bias != "none") fields.refuse("bias", "none", Code::unsupported);
  const double r = static_cast<double>(fields.need_whole("r")), alpha = fields.number("lora_alpha").value_or(8.0);
  if (r < 1 || r > max_rank) fields.refuse("r", "1 to " + std::to_string(max_rank));
  const bool dora = fields.boolean("use_dora").value_or(false);
  const double scale = alpha / (fields.boolean("use_rslora").value_or(false) ? std::sqrt(r) : r);

  const SafetensorsFile file(File::open(path_join(path_, "adapter_model.safetensors")));
  std::map<Place, Half2> found;
  for (const StoredTensor& t : file.tensors()) {
    std::string_view name = t.name;
    const auto unknown = [&]() { fail(Code::unsupported, path_ + ": tensor " + t.name + " is no LoRA matrix of a Llama's projections or head"); };
    if (name.starts_with("base_model.model.")) name.remove_prefix(17);
    Place at{Part::output, 0};
    if (read_layer(name, "model.layers.", ".", at.layer)) {
      const auto part = std::find_if(std::begin(adaptable), std::end(adaptable) - 1, [&](Part p) { return name.starts_with(peft_name(p)); });
      if (part == std::end(adaptable) - 1) unknown();
      at.part = *part;
    } else if (!name.starts_with("lm_head")) {
      unknown();
    }
    name.remove_prefix(peft_name(at.part).size());
    if (name == ".lora_magnitude_vector" || name == ".lora_magnitude_vector.weight") {
      if (!dora) fail(Code::format, path_ + ": tensor " + t.name + " is DoRA's, use_dora is false");
      found[at].m = &t;
      continue;
    }
    if (t.shape.size() != 2) unknown();
    if (name == ".lora_A.weight") found[at].a = &t;
    else if (name == ".lora_B.weight") found[at].b = &t;
    else if (name != ".base_layer.weight" && name != ".weight") unknown();  // PEFT may copy the head beside its adapter
  }
  std::vector<Adapter::Module> modules;
  for (const auto& [at, both] : found) {
    const auto *a = static_cast<const StoredTensor*>(both.a), *b = static_cast<const StoredTensor*>(both.b);
    if (!a || !b) fail(Code::format, path_ + ": " + (a ? a->name : b ? b->name : static_cast<const StoredTensor*>(both.m)->name) + " stands alone, without its " + (a ? "B" : "A"));
    modules.push_back(module(at, a->name, a->shape[0], a->shape[1], b->shape[0], b->shape[1]));
    if (static_cast<double>(modules.back().rank) != r) fail(Code::format, path_ + ": " + a->name + " has rank " + std::to_string(modules.back().rank) + ", r is " + std::to_string(r));
    modules.back().scale = static_cast<float>(scale);
    floats(*a, modules.back().a);
    floats(*b, modules.back().b);
    meta_rows(modules.back().part, modules.back().rank, modules.back().b);
    if (dora) magnitudes(static_cast<const StoredTensor*>(both.m), a->name, modules.back());
  }
  return modules;
}

std::vector<Adapter::Module> Opener::gguf(const Gguf& file) {
  if (file.text("general.type").value_or("") != "adapter") file.refuse("general.type", "must be adapter");
  if (file.text("adapter.type").value_or("") != "lora") file.unsupported("adapter.type", "must be lora");
  if (const auto arch = file.text("general.architecture"); arch && *arch != "llama") file.unsupported("general.architecture", "is " + *arch + ", not llama");
  const double alpha = file.number("adapter.lora.alpha").value_or(0.0);
  std::map<Place, Half2> found;
  for (const GgufTensor& t : file.tensors()) {
    std::string_view name = t.name;
    Place at{Part::output, 0};
    const bool in_layer = read_layer(name, "blk.", ".", at.layer);
    const auto part = std::find_if(std::begin(adaptable), std::end(adaptable), [&](Part p) {
      return part_is_per_layer(p) == in_layer && name.starts_with(part_name(p)) && name.substr(part_name(p).size()).starts_with(".weight.lora_");
    });
    if (part == std::end(adaptable) || t.dims[2] != 1 || t.dims[3] != 1)
      fail(Code::unsupported, path_ + ": tensor " + t.name + " is no LoRA matrix of a Llama's projections or head");
    at.part = *part;
    (name.ends_with(".lora_a") ? found[at].a : found[at].b) = &t;
  }
  std::vector<Adapter::Module> modules;
  for (const auto& [at, both] : found) {
    const auto *a = static_cast<const GgufTensor*>(both.a), *b = static_cast<const GgufTensor*>(both.b);
    if (!a || !b) fail(Code::format, path_ + ": " + (a ? a : b)->name + " stands alone, without its " + (a ? "lora_b" : "lora_a"));
    modules.push_back(module(at, a->name, a->dims[1], a->dims[0], b->dims[1], b->dims[0]));
    Adapter::Module& m = modules.back();
    m.scale = static_cast<float>(alpha != 0 ? alpha / m.rank : 1.0);
    for (const auto& [t, to] : {std::pair{a, &m.a}, std::pair{b, &m.b}}) {
      const DTypeInfo* type = find_dtype(static_cast<std::int32_t>(t->type));
      if (!type || t->columns() % type->block != 0) fail(Code::unsupported, path_ + ": tensor " + t->name + " has type " + std::to_string(t->type));
      std::vector<std::byte> row(static_cast<std::size_t>(row_bytes(type->type, t->columns())));
      for (std::uint64_t r = 0; r < t->rows(); ++r) {
        file.file()->read(t->offset + r * row.size(), row.data(), row.size());
        decode_row(type->type, row.data(), to->data() + r * t->columns(), static_cast<std::size_t>(t->columns()));
      }
    }
  }
  return modules;
}

}  // namespace

std::shared_ptr<const Adapter> Adapter::open(const std::string& path, const Config& config, Memory& memory) {
  Opener opener(path, config, memory);
  std::vector<Module> modules;
  if (path_is_directory(path)) {
    modules = opener.peft();
  } else {
    const auto file = File::open(path);
    if (!looks_like_gguf(*file)) fail(Code::format, path + ": is neither a PEFT folder nor a GGUF adapter");
    modules = opener.gguf(Gguf(file));
  }
  if (modules.empty()) fail(Code::format, path + ": holds no adapter");
  for (const Module& m : modules)
    for (const Buffer<float>* x : {&m.a, &m.b, &m.m})
      for (const float v : x->span())
        if (!std::isfinite(v)) fail(Code::format, path + ": " + std::string(part_name(m.part)) + " of layer " + std::to_string(m.layer) + " has a NaN or an infinity");
  return std::make_shared<const Adapter>(path, std::move(modules));
}

}  // namespace puna
