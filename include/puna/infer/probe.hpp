// How fast this machine is at this moment, by a runtime's threads: the limits of decoding (memory) and prompts (arithmetic).
// Other programs take their share of both, so a measurement holds only against work done within the same second.
#pragma once

#include <string_view>

#include "puna/infer/model.hpp"

namespace puna {

// What the products of a model cost. One definition of work: two operations per weight of a layer and token, and per
// weight of the head once per prompt or decoded token; the embedding is looked up, not multiplied.
struct ModelWork {
  std::uint64_t decode_bytes = 0;  // of the weights that every decoded token reads
  std::uint64_t layer_weights = 0;
  std::uint64_t head_weights = 0;
};
ModelWork model_work(const Params& params);
ModelWork model_work(const WeightPlan& plan);  // before anything is loaded

struct MachineSpeed {
  std::uint32_t threads = 0;
  double read_bytes = 0;  // a second; the others operations a second
  double int8_ops = 0;    // 0: the path has no such instruction
  double fp32_ops = 0;
  std::string_view int8_instruction, fp32_instruction;
};

struct ProbeFigures {
  bool read = true, int8 = true, fp32 = true;
};

// Each figure takes about `seconds`. Reads the weights that a decoded token reads, in its order; without a model a buffer
// that is larger than the caches, taken from the runtime's memory.
MachineSpeed probe_machine(Runtime& runtime, const Model* model, double seconds, ProbeFigures figures = {});

}  // namespace puna
