// The projections of a model as NF4 beside it: what QLoRA trains on. A file that is mapped is not in use afterwards, so that the base
// is 4.127 bits a weight whatever the file's type.
#pragma once

#include "puna/infer/model.hpp"
#include "puna/nn/block_train.hpp"

namespace puna {

class Nf4Base {
 public:
  // Points the projections of params here; their matrices stay the model's.
  Nf4Base(const Model& model, TrainParams& params);
  void point(TrainParams& params) const;
  static std::uint64_t bytes(const Config& config);

 private:
  Buffer<std::byte> slab_;
  std::vector<Nf4View> views_;
};

}  // namespace puna
