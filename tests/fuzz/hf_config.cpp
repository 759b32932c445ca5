// The JSON of a Hugging Face folder: one text as config.json, as an index of shards and as tokenizer_config.json.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "puna/io/hf_folder.hpp"

namespace {

template <class Work>
void attempt(Work work) {
  try {
    work();
  } catch (const puna::Error& error) {
    if (error.code() == puna::Code::internal) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    const puna::Json json = puna::Json::parse(text, "config.json");
    // What was written once reads the same again.
    const std::string once = puna::Json::parse(json.dump(SIZE_MAX), "again").dump(SIZE_MAX);
    if (puna::Json::parse(once, "again").dump(SIZE_MAX) != once) std::abort();
    attempt([&] {
      const auto h = puna::read_hf_config(json, "config.json").hyperparameters;
      if (h.heads == 0 || h.dim == 0 || h.rope_theta != h.rope_theta) std::abort();
    });
    attempt([&] {
      for (const auto& [tensor, shard] : puna::read_weight_map(json, "index.json"))
        if (shard.find('/') != std::string::npos || shard == "..") std::abort();
    });
    attempt([&] { puna::find_hf_vocab("no/such/folder", json, "config.json"); });
  });
  return 0;
}
