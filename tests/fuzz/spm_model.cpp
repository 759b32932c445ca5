#include "puna/base/status.hpp"
#include "puna/text/spm_model.hpp"
#include "text_exercise.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto file = puna::File::from_memory({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  try {
    const puna::VocabData vocab = puna::parse_spm_model(*file);
    puna_fuzz::exercise(vocab, puna::VocabOrigin::sentencepiece, {reinterpret_cast<const char*>(data), size});
  } catch (const puna::Error&) {
  }
  return 0;
}
