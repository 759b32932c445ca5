// A torch checkpoint. The first byte chooses: a whole file, or a pickle that a right zip is put around, so that the
// mutations reach the pickle's machine; then also the way from a checkpoint to a model.
#include "puna/io/torch_checkpoint.hpp"

#include "../zip_writer.hpp"
#include "puna/io/weight_source.hpp"
#include "tensors_exercise.hpp"

namespace {

std::string wrap(const std::uint8_t* data, std::size_t size) {
  puna_test::ZipWriter zip;
  zip.add("a/data.pkl", std::string(reinterpret_cast<const char*>(data), size));
  zip.add("a/byteorder", "little");
  zip.add("a/data/0", std::string(24, '\1'));
  zip.add("a/data/1", std::string(64, '\2'));
  return zip.finish();
}

void open_model(const std::uint8_t* data, std::size_t size) {
  try {
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    (void)puna::open_torch_file(puna::File::from_memory(bytes, "no/such/folder"))->metadata();
  } catch (const puna::Error& error) {
    if (error.code() == puna::Code::internal) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string zip;
  const std::uint8_t* bytes = data;
  std::size_t n = size;
  if (data[0] != 'P') {
    zip = wrap(data + 1, size - 1);
    bytes = reinterpret_cast<const std::uint8_t*>(zip.data());
    n = zip.size();
  }
  puna_fuzz::exercise_tensors<puna::TorchCheckpoint>(bytes, n);
  open_model(bytes, n);
  return 0;
}
