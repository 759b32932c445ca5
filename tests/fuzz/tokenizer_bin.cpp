#include "puna/base/status.hpp"
#include "puna/text/hf_tokenizer.hpp"
#include "text_exercise.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto file = puna::File::from_memory({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  try {
    const puna::VocabData vocab = puna::parse_llama2c_tokenizer(*file, 0);
    puna_fuzz::exercise(vocab, puna::VocabOrigin::llama2c, {reinterpret_cast<const char*>(data), size});
  } catch (const puna::Error&) {
  }
  return 0;
}
