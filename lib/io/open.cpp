// Recognises a container by what it holds, never by its name.
#include <memory>

#include "puna/io/check_weights.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/hf_folder.hpp"
#include "puna/io/llama2c.hpp"
#include "puna/io/meta_folder.hpp"
#include "puna/io/safetensors.hpp"
#include "puna/io/torch_checkpoint.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

bool is_tied(const WeightSource& source) { return !source.find(Part::token_embedding, 0) || !source.find(Part::output, 0); }
namespace {

std::unique_ptr<WeightSource> checked(std::unique_ptr<WeightSource> source) {
  check_weights(*source);
  return source;
}

std::unique_ptr<WeightSource> open_folder(const std::string& path) {
  if (path_exists(path_join(path, "config.json"))) return open_hf_folder(path);
  if (path_exists(path_join(path, "params.json"))) return open_meta_folder(path);
  fail(Code::format, path + ": a folder with neither a config.json (Hugging Face) nor a params.json (Meta) in it");
}

// A safetensors file says nothing of heads, epsilon or theta: those are in the config.json beside it.
std::unique_ptr<WeightSource> open_safetensors(const File& file) {
  const std::string folder = file.path().empty() ? std::string() : path_folder(file.path());
  if (!folder.empty() && path_exists(path_join(folder, "config.json"))) return open_hf_folder(folder);
  fail(Code::unsupported, file.name() + ": a safetensors file is a model only with its config.json beside it");
}

// What is left has no magic number: the header's sizes must make exactly this file's size.
std::unique_ptr<WeightSource> open_llama2c_v0(std::shared_ptr<const File> file) {
  try {
    return open_llama2c(file);
  } catch (const Error& e) {
    if (e.code() != Code::format) throw;
    fail(Code::format, file->name() +
                           ": no model that is known: no GGUF (it does not start with \"GGUF\"), no safetensors, no "
                           "torch checkpoint (no zip), and no llama2.c file (" +
                           e.text() + ")");
  }
}

std::unique_ptr<WeightSource> open_file(std::shared_ptr<const File> file) {
  if (looks_like_gguf(*file)) return open_gguf(std::move(file));
  if (looks_like_llama2c(*file)) return open_llama2c(std::move(file));
  if (looks_like_torch(*file)) return open_torch_file(std::move(file));
  if (looks_like_safetensors(*file)) return open_safetensors(*file);
  return open_llama2c_v0(std::move(file));
}

}  // namespace

std::unique_ptr<WeightSource> open_weights(const std::string& path) {
  if (!path.empty() && path.find('\0') == std::string::npos && path_is_directory(path))
    return checked(open_folder(path));
  return open_weights(File::open(path));
}

std::unique_ptr<WeightSource> open_weights(std::shared_ptr<const File> file) {
  return checked(open_file(std::move(file)));
}

}  // namespace puna
