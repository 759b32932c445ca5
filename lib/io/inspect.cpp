// What a container holds, from its header alone, whether this library could load it or not.
#include <memory>

#include "puna/io/gguf.hpp"
#include "puna/io/hf_folder.hpp"
#include "puna/io/llama2c.hpp"
#include "puna/io/meta_folder.hpp"
#include "puna/io/safetensors.hpp"
#include "puna/io/torch_checkpoint.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {
namespace {

// Fills in the hyperparameters when the file could be loaded; a listing does not depend on it.
void add_hyperparameters(Listing& listing, const std::shared_ptr<const File>& file) {
  if (listing.hyperparameters) return;
  try {
    const auto weights = open_weights(file);
    listing.hyperparameters = weights->hyperparameters();
    listing.tied = is_tied(*weights);
  } catch (const Error& e) {
    if (e.code() != Code::format && e.code() != Code::unsupported && e.code() != Code::io) throw;
  }
}

Listing inspect_folder(const std::string& path) {
  const bool meta = path_exists(path_join(path, "params.json")) && !path_exists(path_join(path, "config.json"));
  return meta ? inspect_meta_folder(path) : inspect_hf_folder(path);
}

}  // namespace

Listing inspect(const std::string& path) {
  if (!path.empty() && path.find('\0') == std::string::npos && path_is_directory(path)) return inspect_folder(path);
  if (path.ends_with(".index.json")) return inspect_folder(path_folder(path));
  return inspect(File::open(path));
}

Listing inspect(std::shared_ptr<const File> file) {
  if (looks_like_gguf(*file)) return inspect_gguf(std::move(file));
  if (looks_like_llama2c(*file)) return inspect_llama2c(std::move(file));
  Listing listing;
  if (looks_like_torch(*file)) {
    listing = inspect_torch(file);
  } else if (looks_like_safetensors(*file)) {
    listing = inspect_safetensors(file);
  } else {
    open_weights(file);  // llama2.c v0, or the message that says what was tried
    return inspect_llama2c(std::move(file));
  }
  add_hyperparameters(listing, file);
  return listing;
}

}  // namespace puna
