// What a container holds, from its header alone, whether this library could load it or not.
#include <algorithm>
#include <memory>

#include "puna/io/check_weights.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/llama2c.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {
Listing inspect(const std::string& path) {
  return inspect(File::open(path));
}

Listing inspect(std::shared_ptr<const File> file) {
  if (looks_like_gguf(*file)) return inspect_gguf(std::move(file));
  const std::unique_ptr<WeightSource> source = open_weights(file);  // llama2.c, or the message that says what was tried
  return inspect_llama2c(std::move(file));
}

}  // namespace puna
