// A safetensors file, in memory and read by callback: both must say the same.
#include "puna/io/safetensors.hpp"
#include "tensors_exercise.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  puna_fuzz::exercise_tensors<puna::SafetensorsFile>(data, size);
  return 0;
}
