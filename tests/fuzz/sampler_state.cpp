// Saved sampler states are untrusted: any bytes restore or are refused, and what was restored saves and samples again.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/infer/sampler.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  puna::StandardSampling options;
  options.temperature = 0.8;
  options.mirostat = (data[0] & 1) != 0;
  options.repeat_penalty = 1.1;
  options.dry_multiplier = 0.8;
  options.dry_breakers = {{3}, {1, 2}};
  puna::Sampler sampler = puna::Sampler::standard(options);
  try {
    sampler.restore({data + 1, size - 1});
  } catch (const puna::Error&) {
    return 0;
  }
  const auto saved = sampler.save();
  puna::Sampler again = sampler.clone();
  again.restore(saved);
  if (again.save() != saved) std::abort();
  const std::vector<float> logits{1, -2, 0.5f, 3, 0, -1};
  const auto id = sampler.sample(logits);
  if (id < 0 || id >= 6 || id != again.sample(logits)) std::abort();
  return 0;
}
