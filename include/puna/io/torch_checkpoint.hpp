// A checkpoint of torch.save: a zip of stored entries around a pickle. Tensors are understood, and nothing is run.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "puna/io/stored_tensor.hpp"
#include "puna/io/weight_source.hpp"

namespace puna {

class TorchCheckpoint {
 public:
  // A plain value beside the tensors, such as "model_args.dim".
  struct Scalar {
    std::string name;
    std::variant<bool, std::int64_t, double, std::string> value;
  };

  // Throws Error(format | unsupported) naming the file, the place and the value.
  explicit TorchCheckpoint(std::shared_ptr<const File> file);

  const std::shared_ptr<const File>& file() const { return file_; }
  // In the file's order, named by the path of keys down to them: "model.norm.weight".
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const std::vector<Scalar>& scalars() const { return scalars_; }
  const Scalar* scalar(std::string_view name) const;

 private:
  std::shared_ptr<const File> file_;
  std::vector<StoredTensor> tensors_;
  std::vector<Scalar> scalars_;
};

// True for the bytes of a zip, or of torch's older format (which opening then refuses by name).
bool looks_like_torch(const File& file);
Listing inspect_torch(std::shared_ptr<const File> file);

// A model in one torch checkpoint: Meta's names with params.json beside it (or its values under a key of the
// checkpoint, as llama2.c saves them), or Hugging Face's names with config.json beside it. A shard of a Meta folder
// opens the folder.
std::unique_ptr<WeightSource> open_torch_file(std::shared_ptr<const File> file);

}  // namespace puna
