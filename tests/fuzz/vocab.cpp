// Arrays as a GGUF could hold them: a byte of flags, the special ids, then per piece its type, length, score and text;
// what is left is text to encode.
#include <algorithm>
#include <cstring>

#include "puna/base/status.hpp"
#include "text_exercise.hpp"

namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : std::uint8_t{0}; }
  std::string text(std::size_t n) {
    n = std::min(n, size_ - at_);
    std::string out(reinterpret_cast<const char*>(data_) + at_, n);
    at_ += n;
    return out;
  }
  bool left() const { return at_ < size_; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

puna::VocabData arrays(Bytes& in) {
  puna::VocabData v;
  const std::uint8_t flags = in.byte();
  v.add_space_prefix = flags & 1;
  v.remove_extra_whitespaces = flags & 2;
  for (std::int32_t* id : {&v.unknown, &v.bos, &v.eos, &v.pad}) *id = static_cast<std::int8_t>(in.byte());
  const auto add = [&v](std::string piece, float score, std::int32_t type) {
    v.pieces.push_back(std::move(piece));
    v.scores.push_back(score);
    v.types.push_back(type);
  };
  if (flags & 4)
    for (int byte = 0; byte < 256; ++byte) add(puna::piece_of_byte(byte), 0, 6);
  for (std::size_t count = in.byte(); count > 0 && in.left(); --count) {
    const std::uint8_t head = in.byte();  // type in the low three bits, then the length; 31: a longer one
    const std::size_t length = (head >> 3) == 31 ? in.byte() * 2u : head >> 3;
    float score = static_cast<std::int8_t>(in.byte());
    if (score == -128.0f) std::memcpy(&score, in.text(4).append(4, '\x7f').data(), 4);
    add(in.text(length), score, head & 7);
  }
  if (flags & 8) v.types.clear();
  return v;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const puna::VocabData vocab = arrays(in);
  try {
    puna_fuzz::exercise(vocab, puna::VocabOrigin::gguf, in.text(4096));
  } catch (const puna::Error& error) {
    puna_fuzz::require(error.code() != puna::Code::internal);
  }
  return 0;
}
