// Adapters: the first byte says what the rest is: a GGUF, the weights of a PEFT folder, or its adapter_config.json. What is
// opened fits the model and is finite.
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "puna/infer/adapter.hpp"

namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("fuzz_adapter." + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

void write(const fs::path& path, const void* data, std::size_t size) {
  std::ofstream(path, std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

// Small enough for the seeds: dim 16, two heads of 8, one shared key head, two layers.
puna::Config config() {
  puna::Hyperparameters h;
  h.dim = 16, h.ffn_dim = 32, h.layers = 2, h.heads = 2, h.kv_heads = 1, h.vocab = 32, h.context = 64;
  return puna::make_config(h, "fuzz");
}

constexpr char usual_config[] = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"})";
// layers.0 q_proj: A [2, 16] and B [16, 2] of zeros.
std::string usual_weights() {
  std::string header =
      R"({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[2,16],"data_offsets":[0,128]},)"
      R"("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight":{"dtype":"F32","shape":[16,2],"data_offsets":[128,256]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return out + header + std::string(256, '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  static const Folder folder;
  static const puna::Config shape = config();
  const fs::path gguf = folder.path / "adapter.gguf";
  const unsigned how = data[0] % 3;
  if (how == 0) {
    write(gguf, data + 1, size - 1);
  } else {
    const std::string weights = usual_weights();
    if (how == 1) write(folder.path / "adapter_model.safetensors", data + 1, size - 1);
    else write(folder.path / "adapter_model.safetensors", weights.data(), weights.size());
    if (how == 2) write(folder.path / "adapter_config.json", data + 1, size - 1);
    else write(folder.path / "adapter_config.json", usual_config, sizeof usual_config - 1);
  }
  try {
    puna::Runtime runtime;
    const auto adapter = puna::Adapter::open((how == 0 ? gguf : folder.path).string(), shape, runtime.memory);
    if (adapter->modules().empty()) std::abort();
    for (const auto& m : adapter->modules()) {
      const puna::PartShape part = puna::part_shape(shape, m.part);
      if (m.a.size() != m.rank * part.columns || m.b.size() != m.rank * part.rows || m.layer >= shape.N) std::abort();
      for (const float v : m.b.span())
        if (!std::isfinite(v)) std::abort();
    }
  } catch (const puna::Error& error) {
    if (error.code() == puna::Code::internal) std::abort();
  }
  return 0;
}
