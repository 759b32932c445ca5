// A torch checkpoint. The first byte chooses: a whole file, or a pickle that a right zip is put around, so that the
// mutations reach the pickle's machine; then also the way from a checkpoint to a model.
#include "puna/io/torch_checkpoint.hpp"

#include "puna/io/weight_source.hpp"
#include "tensors_exercise.hpp"

namespace {

void put(std::string& out, std::uint64_t n, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(n >> (8 * i));
}

// Stored entries alone; a CRC of 0 is what torch writes when told not to compute it.
class ZipWriter {
 public:
  void add(const std::string& name, const std::string& bytes) {
    const std::size_t header = out_.size();
    put(out_, 0x04034b50, 4);
    for (int i = 0; i < 7; ++i) put(out_, 0, 2);
    put(out_, bytes.size(), 4);
    put(out_, bytes.size(), 4);
    put(out_, name.size(), 2);
    put(out_, 0, 2);
    out_ += name + bytes;
    put(central_, 0x02014b50, 4);
    for (int i = 0; i < 8; ++i) put(central_, 0, 2);
    put(central_, bytes.size(), 4);
    put(central_, bytes.size(), 4);
    put(central_, name.size(), 2);
    for (int i = 0; i < 4; ++i) put(central_, 0, 2);
    put(central_, 0, 4);
    put(central_, header, 4);
    central_ += name;
    ++entries_;
  }
  std::string finish() {
    const std::size_t at = out_.size();
    out_ += central_;
    put(out_, 0x06054b50, 4);
    put(out_, 0, 4);
    put(out_, entries_, 2);
    put(out_, entries_, 2);
    put(out_, central_.size(), 4);
    put(out_, at, 4);
    put(out_, 0, 2);
    return out_;
  }

 private:
  std::string out_, central_;
  std::uint64_t entries_ = 0;
};

std::string wrap(const std::uint8_t* data, std::size_t size) {
  ZipWriter zip;
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
