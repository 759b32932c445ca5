// Recognises a container by what it holds, never by its name.
#include <memory>

#include "puna/io/check_weights.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/llama2c.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {
namespace {

std::unique_ptr<WeightSource> checked(std::unique_ptr<WeightSource> source) {
  check_weights(*source);
  return source;
}

// What is left has no magic number: the header's sizes must make exactly this file's size.
std::unique_ptr<WeightSource> open_llama2c_v0(std::shared_ptr<const File> file) {
  try {
    return open_llama2c(file);
  } catch (const Error& e) {
    if (e.code() != Code::format) throw;
    fail(Code::format, file->name() + ": no model that is known: no GGUF (it does not start with \"GGUF\"), no safetensors, no "
                       "torch checkpoint (no zip), and no llama2.c file (" + e.text() + ")");
  }
}

std::unique_ptr<WeightSource> open_file(std::shared_ptr<const File> file) {
  if (looks_like_gguf(*file)) return open_gguf(std::move(file));
  if (looks_like_llama2c(*file)) return open_llama2c(std::move(file));
  return open_llama2c_v0(std::move(file));
}

}  // namespace

std::unique_ptr<WeightSource> open_weights(const std::string& path) {
  return open_weights(File::open(path));
}

std::unique_ptr<WeightSource> open_weights(std::shared_ptr<const File> file) { return checked(open_file(std::move(file))); }

}  // namespace puna
