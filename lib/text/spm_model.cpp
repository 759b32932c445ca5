#include "puna/text/spm_model.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "puna/base/status.hpp"

namespace puna {
namespace {

constexpr std::uint64_t max_model_bytes = std::uint64_t{256} << 20;
constexpr std::size_t max_name_bytes = 256;

enum Wire : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  std::uint32_t wire = 0;
  std::uint64_t value = 0;  // varint or fixed
  std::string_view data;    // bytes
};

// Walks the fields of one message. Groups and anything that runs over the end are errors.
class Message {
 public:
  Message(const std::string& file, const char* name, std::string_view data, std::size_t offset)
      : file_(file), name_(name), data_(data), offset_(offset) {}

  bool next(Field& field) {
    if (at_ == data_.size()) return false;
    const std::uint64_t key = read_varint();
    if (key > 0xffffffffu || (key >> 3) == 0) bad("the field key " + std::to_string(key) + " is not one");
    field = {static_cast<std::uint32_t>(key >> 3), static_cast<std::uint32_t>(key & 7), 0, {}};
    switch (field.wire) {
      case varint: field.value = read_varint(); break;
      case fixed64: field.value = read_fixed(8); break;
      case fixed32: field.value = read_fixed(4); break;
      case bytes: {
        const std::uint64_t size = read_varint();
        if (size > data_.size() - at_)
          bad("field " + std::to_string(field.number) + " is " + std::to_string(size) + " bytes long, but only " +
              std::to_string(data_.size() - at_) + " are left");
        field.data = data_.substr(at_, static_cast<std::size_t>(size));
        at_ += static_cast<std::size_t>(size);
        break;
      }
      default:
        bad("field " + std::to_string(field.number) + " has the wire type " + std::to_string(field.wire));
    }
    return true;
  }

  // Each field at most once, and of its own wire type.
  void expect(const Field& field, std::uint32_t wire, bool repeated = false) {
    if (field.wire != wire)
      bad("field " + std::to_string(field.number) + " has the wire type " + std::to_string(field.wire) + " instead of " +
          std::to_string(wire));
    if (repeated) return;
    const std::uint64_t bit = std::uint64_t{1} << (field.number & 63);
    if (seen_ & bit) bad("field " + std::to_string(field.number) + " is there twice");
    seen_ |= bit;
  }
  [[noreturn]] void unknown(const Field& field) {
    fail(Code::unsupported, where() + "the unknown field " + std::to_string(field.number));
  }
  [[noreturn]] void bad(const std::string& text) const { fail(Code::format, where() + text); }
  [[noreturn]] void unsupported(const std::string& text) const { fail(Code::unsupported, where() + text); }
  bool flag(const Field& field) {
    expect(field, varint);
    if (field.value > 1) bad("field " + std::to_string(field.number) + " is " + std::to_string(field.value) + ", not a bool");
    return field.value != 0;
  }
  std::string text(const Field& field, std::size_t limit, const char* what) {
    expect(field, bytes);
    if (field.data.size() > limit)
      bad(std::string(what) + " is " + std::to_string(field.data.size()) + " bytes long, at most " +
          std::to_string(limit) + " are supported");
    if (field.data.find('\0') != std::string_view::npos || utf8_error(field.data) != std::string_view::npos)
      bad(std::string(what) + " is not plain UTF-8");
    return std::string(field.data);
  }
  std::size_t offset_of(std::string_view part) const {
    return offset_ + static_cast<std::size_t>(part.data() - data_.data());
  }

 private:
  std::string where() const { return file_ + ": " + name_ + " at byte " + std::to_string(offset_ + at_) + ": "; }
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at_ == data_.size()) bad("cut off inside a number");
      const auto byte = static_cast<unsigned char>(data_[at_++]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    bad("a number longer than 64 bits");
  }
  std::uint64_t read_fixed(std::size_t n) {
    if (data_.size() - at_ < n) bad("cut off inside a number");
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < n; ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(data_[at_ + i])) << (8 * i);
    at_ += n;
    return value;
  }

  const std::string& file_;
  const char* name_;
  std::string_view data_;
  std::size_t offset_;
  std::size_t at_ = 0;
  std::uint64_t seen_ = 0;
};

struct TrainerSpec {
  bool byte_fallback = false;
  std::string unknown = "<unk>", bos = "<s>", eos = "</s>", pad = "<pad>";
  std::string unknown_surface = " \xE2\x81\x87 ";
};

TrainerSpec parse_trainer(Message m) {
  TrainerSpec spec;
  std::uint64_t model_type = 1;
  for (Field f; m.next(f);) switch (f.number) {
      case 3: m.expect(f, varint); model_type = f.value; break;
      case 24: if (m.flag(f)) m.unsupported("treat_whitespace_as_suffix is set"); break;
      case 35: spec.byte_fallback = m.flag(f); break;
      case 44: spec.unknown_surface = m.text(f, max_name_bytes, "unk_surface"); break;
      case 45: spec.unknown = m.text(f, max_name_bytes, "unk_piece"); break;
      case 46: spec.bos = m.text(f, max_name_bytes, "bos_piece"); break;
      case 47: spec.eos = m.text(f, max_name_bytes, "eos_piece"); break;
      case 48: spec.pad = m.text(f, max_name_bytes, "pad_piece"); break;
      // How it was trained: skipped, but of the right wire type.
      case 1: case 5: case 30: case 31: m.expect(f, bytes, true); break;
      case 2: case 7: case 36: case 53: case 54: m.expect(f, bytes); break;
      case 10: case 15: case 51: m.expect(f, fixed32); break;
      case 4: case 6: case 11: case 12: case 13: case 14: case 16: case 17: case 18: case 19: case 20: case 21: case 22:
      case 23: case 25: case 26: case 32: case 33: case 34: case 40: case 41: case 42: case 43: case 49: case 50:
      case 52: m.expect(f, varint); break;
      default: m.unknown(f);
    }
  static constexpr const char* kinds[] = {"0", "unigram", "BPE", "word", "character"};
  if (model_type != 2)
    m.unsupported("model_type is " + (model_type < 5 ? std::string(kinds[model_type]) : std::to_string(model_type)) +
                  "; Llama's is BPE");
  return spec;
}

struct NormalizerSpec {
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

NormalizerSpec parse_normalizer(Message m) {
  NormalizerSpec spec;
  for (Field f; m.next(f);) switch (f.number) {
      case 1: m.text(f, max_name_bytes, "name"); break;
      case 2:
        m.expect(f, bytes);
        if (!f.data.empty()) m.unsupported("a precompiled_charsmap of " + std::to_string(f.data.size()) + " bytes");
        break;
      case 3: spec.add_dummy_prefix = m.flag(f); break;
      case 4: spec.remove_extra_whitespaces = m.flag(f); break;
      case 5: if (!m.flag(f)) m.unsupported("escape_whitespaces is off"); break;
      case 6:
        m.expect(f, bytes);
        if (!f.data.empty()) m.unsupported("a normalization_rule_tsv");
        break;
      default: m.unknown(f);
    }
  return spec;
}

void parse_piece(Message m, VocabData& vocab) {
  if (vocab.pieces.size() == max_pieces) m.unsupported("more than " + std::to_string(max_pieces) + " pieces");
  std::string_view piece;
  float score = 0.0f;
  std::uint64_t type = 1;
  for (Field f; m.next(f);) switch (f.number) {
      case 1: m.expect(f, bytes); piece = f.data; break;
      case 2: m.expect(f, fixed32); score = std::bit_cast<float>(static_cast<std::uint32_t>(f.value)); break;
      case 3: m.expect(f, varint); type = f.value; break;
      default: m.unknown(f);
    }
  const std::string which = "piece " + std::to_string(vocab.pieces.size());
  if (piece.empty()) m.bad(which + " is empty");
  if (piece.size() > max_piece_bytes)
    m.bad(which + " is " + std::to_string(piece.size()) + " bytes long, at most " + std::to_string(max_piece_bytes) +
          " are supported");
  if (type < 1 || type > 6) m.bad(which + " has the type " + std::to_string(type) + ", not 1 to 6");
  vocab.pieces.emplace_back(piece);
  vocab.scores.push_back(score);
  vocab.types.push_back(static_cast<std::int32_t>(type));
}

void parse_self_test(Message m) {
  Field f;
  if (m.next(f)) m.unsupported("self-test data");
}

std::int32_t control_id(const VocabData& vocab, const std::string& piece) {
  for (std::size_t i = 0; i < vocab.pieces.size(); ++i)
    if (vocab.types[i] == 3 && vocab.pieces[i] == piece) return static_cast<std::int32_t>(i);
  return -1;
}

VocabData parse_model(const std::string& name, std::string_view data) {
  Message m(name, "ModelProto", data, 0);
  VocabData vocab;
  TrainerSpec trainer;
  NormalizerSpec normalizer;
  bool has_trainer = false, has_normalizer = false;
  for (Field f; m.next(f);) {
    const auto part = [&](const char* what, bool repeated = false) {
      m.expect(f, bytes, repeated);
      return Message(name, what, f.data, m.offset_of(f.data));
    };
    switch (f.number) {
      case 1: parse_piece(part("SentencePiece", true), vocab); break;
      case 2: trainer = parse_trainer(part("TrainerSpec")); has_trainer = true; break;
      case 3: normalizer = parse_normalizer(part("NormalizerSpec")); has_normalizer = true; break;
      case 4: parse_self_test(part("SelfTestData")); break;
      case 5: parse_normalizer(part("denormalizer's NormalizerSpec")); break;
      default: m.unknown(f);
    }
  }
  if (!has_trainer) m.bad("no trainer_spec");
  if (!has_normalizer) m.bad("no normalizer_spec");
  vocab.unknown = -1;  // by its type, as sentencepiece finds it
  vocab.bos = control_id(vocab, trainer.bos);
  vocab.eos = control_id(vocab, trainer.eos);
  vocab.pad = control_id(vocab, trainer.pad);
  vocab.unknown_surface = trainer.unknown_surface;
  vocab.add_space_prefix = normalizer.add_dummy_prefix;
  vocab.remove_extra_whitespaces = normalizer.remove_extra_whitespaces;
  check_vocab(vocab, name, VocabOrigin::sentencepiece);
  if (trainer.byte_fallback != has_byte_pieces(vocab))
    m.bad(trainer.byte_fallback ? "byte_fallback is set, but there are no byte pieces"
                                : "there are byte pieces, but byte_fallback is not set");
  return vocab;
}

// --- writing -------------------------------------------------------------------------------------------------------

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}
void put_number(std::string& out, std::uint32_t field, std::int64_t value) {
  put_varint(out, field << 3 | varint);
  put_varint(out, static_cast<std::uint64_t>(value));
}
void put_bytes(std::string& out, std::uint32_t field, std::string_view value) {
  put_varint(out, field << 3 | bytes);
  put_varint(out, value.size());
  out += value;
}
void put_float(std::string& out, std::uint32_t field, float value) {
  put_varint(out, field << 3 | fixed32);
  const auto u = std::bit_cast<std::uint32_t>(value);
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(u >> shift & 0xff);
}

// sentencepiece finds a control piece of one character in text, then fails to account for it. No other control piece can
// ever match, so these get a longer name, which nobody sees: our own Tokenizer knows them by the name in the file.
std::string piece_for_proto(const VocabData& vocab, std::size_t id, std::size_t longest) {
  const std::string& piece = vocab.pieces[id];
  if (vocab.types[id] != 3 || utf8_length(piece, 0) != piece.size()) return piece;
  std::string name = "<control " + std::to_string(id) + ">";
  if (name.size() <= longest) name.resize(longest + 1, '>');  // no piece is that long
  return name;
}

std::size_t longest_piece(const VocabData& vocab) {
  std::size_t longest = 0;
  for (const std::string& piece : vocab.pieces) longest = std::max(longest, piece.size());
  return longest;
}

std::string trainer_spec(const VocabData& vocab, std::size_t longest) {
  std::string out;
  put_number(out, 3, 2);
  put_number(out, 4, static_cast<std::int64_t>(vocab.pieces.size()));
  put_number(out, 35, has_byte_pieces(vocab) ? 1 : 0);
  put_number(out, 40, vocab.unknown);
  put_number(out, 41, vocab.bos);
  put_number(out, 42, vocab.eos);
  put_number(out, 43, vocab.pad);
  put_bytes(out, 44, vocab.unknown_surface);
  const auto name = [&](std::uint32_t field, std::int32_t id) {
    if (id >= 0) put_bytes(out, field, piece_for_proto(vocab, static_cast<std::size_t>(id), longest));
  };
  name(45, vocab.unknown);
  name(46, vocab.bos);
  name(47, vocab.eos);
  name(48, vocab.pad);
  return out;
}

}  // namespace

VocabData parse_spm_model(const File& file) {
  if (file.size() > max_model_bytes)
    fail(Code::unsupported, file.name() + ": " + std::to_string(file.size()) + " bytes, at most " +
                                std::to_string(max_model_bytes) + " are supported");
  const auto size = static_cast<std::size_t>(file.size());
  if (size == 0) fail(Code::format, file.name() + ": an empty file");
  if (file.data()) return parse_model(file.name(), {reinterpret_cast<const char*>(file.data()), size});
  std::string copy(size, '\0');
  file.read(0, copy.data(), size);
  return parse_model(file.name(), copy);
}

std::string build_model_proto(const VocabData& vocab, bool space_prefix) {
  const std::size_t longest = longest_piece(vocab);
  std::string out;
  std::string piece;
  for (std::size_t i = 0; i < vocab.pieces.size(); ++i) {
    piece.clear();
    put_bytes(piece, 1, piece_for_proto(vocab, i, longest));
    put_float(piece, 2, vocab.scores[i]);
    put_number(piece, 3, vocab.types[i]);
    put_bytes(out, 1, piece);
  }
  put_bytes(out, 2, trainer_spec(vocab, longest));
  std::string normalizer;
  put_bytes(normalizer, 1, "identity");
  put_number(normalizer, 3, space_prefix ? 1 : 0);
  put_number(normalizer, 4, vocab.remove_extra_whitespaces ? 1 : 0);
  put_bytes(out, 3, normalizer);
  return out;
}

}  // namespace puna
