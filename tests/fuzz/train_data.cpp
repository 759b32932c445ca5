// Training data from anywhere: rows or refusals, whatever the bytes; every row within its length, with something to learn.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "puna/train/data.hpp"
#include "puna/train/data_pack.hpp"

namespace {

// A byte per token, so that no vocabulary has to be found.
std::shared_ptr<const puna::Tokenizer> bytes() {
  static const auto tokenizer = [] {
    puna::VocabData v;
    const auto add = [&v](std::string piece, puna::PieceType type) {
      v.pieces.push_back(std::move(piece));
      v.scores.push_back(0);
      v.types.push_back(static_cast<std::int32_t>(type));
    };
    add("<unk>", puna::PieceType::unknown);
    add("<s>", puna::PieceType::control);
    add("</s>", puna::PieceType::control);
    for (int b = 0; b < 256; ++b) add(puna::piece_of_byte(b), puna::PieceType::byte);
    add(std::string(puna::space_symbol), puna::PieceType::normal);
    return puna::Tokenizer::create(std::move(v), "bytes");
  }();
  return tokenizer;
}

void check(const puna::Example& e, std::uint32_t length) {
  if (e.ids.size() != e.loss.size() || e.ids.empty() || e.ids.size() > length) std::abort();
  std::size_t learnt = 0;
  for (std::size_t i = 1; i < e.loss.size(); ++i) learnt += e.loss[i];
  if (learnt == 0 || e.loss[0] != 0) std::abort();
}

}  // namespace

// The first byte says how it is read, the rest is the file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const unsigned how = data[0];
  puna::DataOptions options;
  options.format = static_cast<puna::DataFormat>(how % 5);
  options.tags = static_cast<puna::TagPolicy>(how / 5 % 3);
  options.length = 48;
  options.max_row_bytes = 4096;
  options.chat = puna::chat_templates()[how / 15 % puna::chat_templates().size()];
  options.too_long = how & 128 ? puna::TooLong::drop : puna::TooLong::cut;
  const auto file = puna::File::from_memory(std::as_bytes(std::span(data + 1, size - 1)));
  try {
    puna::DataReader reader(file, bytes(), options);
    puna::Examples rows;
    for (bool more = true; more;) {
      try {
        puna::Row row;
        more = reader.next(row);
        if (!more) break;
        check(row.example, 48);
        if (reader.shape() == puna::RowShape::preference) check(row.rejected, 48);
        rows.push_back(std::move(row.example));
      } catch (const puna::DataError& error) {
        more = !error.last();
      }
    }
    puna::pack(rows, 48);
  } catch (const puna::Error&) {
  }
  return 0;
}
