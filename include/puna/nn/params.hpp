// The weights of a Llama as the layers see them: views, owned by infer/model.hpp.
#pragma once

#include <vector>

#include "puna/nn/config.hpp"
#include "puna/tensor/dtype.hpp"

namespace puna {

struct BlockParams {
  const float* attn_norm = nullptr;  // [D]
  Matrix wq;                         // [H E][D]
  Matrix wk, wv;                     // [K E][D]
  Matrix wo;                         // [D][H E]
  const float* ffn_norm = nullptr;   // [D]
  Matrix gate, up;                   // [F][D]
  Matrix down;                       // [D][F]
};

struct Params {
  Matrix embedding;  // [V][D]
  std::vector<BlockParams> blocks;
  const float* output_norm = nullptr;  // [D]
  Matrix output;                       // [V][D]; the embedding when tied
};

}  // namespace puna
