#include "weights_exercise.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  puna_fuzz::exercise_bytes(data, size);
  return 0;
}
