// The gate: what check_vocab lets through, repairs and refuses, and what each reader of a file refuses.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "puna/text/hf_tokenizer.hpp"
#include "puna/text/spm_model.hpp"
#include "puna/text/tokenizer.hpp"
#include "puna/text/vocab.hpp"
#include "support.hpp"

using namespace puna;
namespace pt = puna_test;

namespace {

VocabData small() {
  VocabData v;
  v.pieces = {"<unk>", "<s>", "</s>", "a", "b", "ab", "\u2581", "\u2581a"};
  v.scores = {0, 0, 0, -3, -4, -1, -5, -2};
  v.types = {2, 3, 3, 1, 1, 1, 1, 1};
  return v;
}

VocabData small_with_bytes() {
  VocabData v = small();
  for (int byte = 0; byte < 256; ++byte) {
    v.pieces.push_back(piece_of_byte(byte));
    v.scores.push_back(0);
    v.types.push_back(6);
  }
  return v;
}

// Runs and returns the error, or an Error(ok) when there was none.
template <class Work>
Error error_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::ok, "no error");
}

bool says(const Error& error, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (error.text().find(part) == std::string::npos) {
      MESSAGE("the message lacks \"" << part << "\": " << error.text());
      return false;
    }
  return true;
}

Error refusal(VocabData v) {
  return error_of([&] { check_vocab(v, "file.gguf"); });
}

std::shared_ptr<const File> memory(const std::string& bytes, const char* name = "made.model") {
  return File::from_memory(std::as_bytes(std::span(bytes.data(), bytes.size())), name);
}

}  // namespace

TEST_CASE("a sound vocabulary passes") {
  VocabData v = small();
  CHECK_NOTHROW(check_vocab(v, "file.gguf"));
  VocabData w = small_with_bytes();
  CHECK_NOTHROW(check_vocab(w, "file.gguf"));
  CHECK_FALSE(has_byte_pieces(v));
  CHECK(has_byte_pieces(w));
}

TEST_CASE("what is wrong is named") {
  VocabData v = small();
  SUBCASE("no pieces") {
    v.pieces.clear();
    CHECK(says(refusal(v), {"file.gguf", "tokenizer.ggml.tokens", "no pieces"}));
  }
  SUBCASE("counts differ") {
    v.scores.pop_back();
    CHECK(says(refusal(v), {"file.gguf", "tokenizer.ggml.scores", "7 scores for 8"}));
    v = small();
    v.types.push_back(1);
    CHECK(says(refusal(v), {"tokenizer.ggml.token_type", "9 types for 8"}));
  }
  SUBCASE("an empty piece") {
    v.pieces[4].clear();
    CHECK(says(refusal(v), {"tokens[4]", "empty"}));
  }
  SUBCASE("a long piece") {
    v.pieces[4].assign(257, 'x');
    CHECK(says(refusal(v), {"tokens[4]", "257 bytes", "256"}));
    v.pieces[4].assign(256, 'x');
    CHECK_NOTHROW(check_vocab(v, "file.gguf"));
  }
  SUBCASE("a NUL inside") {
    v.pieces[4] = std::string("x\0y", 3);
    CHECK(says(refusal(v), {"tokens[4]", "NUL"}));
  }
  SUBCASE("not UTF-8") {
    for (const char* bad : {"\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
      v.pieces[4] = bad;
      CHECK(says(refusal(v), {"tokens[4]", "not UTF-8"}));
    }
  }
  SUBCASE("twice") {
    v.pieces[4] = "</s>";
    CHECK(says(refusal(v), {"tokens[4]", "\"</s>\"", "twice"}));
  }
  SUBCASE("scores that are no numbers") {
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      v.scores[3] = bad;
      CHECK(says(refusal(v), {"tokenizer.ggml.scores[3]", "finite"}));
    }
  }
  SUBCASE("an unknown type") {
    for (const std::int32_t bad : {0, 7, -1}) {
      v.types[3] = bad;
      CHECK(says(refusal(v), {"tokenizer.ggml.token_type[3]", std::to_string(bad).c_str()}));
    }
  }
  SUBCASE("special ids out of range") {
    for (const std::int32_t bad : {8, 1 << 30, -2}) {
      for (std::int32_t VocabData::*id : {&VocabData::bos, &VocabData::eos, &VocabData::pad, &VocabData::unknown,
                                          &VocabData::prefix, &VocabData::eot}) {
        VocabData w = small();
        w.*id = bad;
        CHECK(says(refusal(w), {"file.gguf", std::to_string(bad).c_str(), "vocabulary of 8"}));
      }
    }
    v.pad = -1;  // 4294967295 in a GGUF
    CHECK_NOTHROW(check_vocab(v, "file.gguf"));
  }
  SUBCASE("two unknown tokens") {
    v.types[3] = 2;
    CHECK(says(refusal(v), {"0 and 3", "unknown"}));
  }
  SUBCASE("byte pieces") {
    v = small_with_bytes();
    v.pieces[20] = "<0x-1>";
    CHECK(says(refusal(v), {"tokens[20]", "<0x-1>", "byte"}));
    v.pieces[20] = "<0xab>";
    CHECK(says(refusal(v), {"tokens[20]", "<0xab>"}));
    v = small_with_bytes();
    v.types[20] = 1;
    CHECK(says(refusal(v), {"byte pieces", "<0x0C>", "missing"}));
  }
  SUBCASE("user-defined pieces nested deeply") {
    std::string piece;
    for (int i = 0; i < 33; ++i) {
      piece += 'q';
      v.pieces.push_back(piece);
      v.scores.push_back(0);
      v.types.push_back(4);
    }
    CHECK(says(refusal(v), {"32", "user-defined"}));
    v.pieces.pop_back();
    v.scores.pop_back();
    v.types.pop_back();
    CHECK_NOTHROW(check_vocab(v, "file.gguf"));
    CHECK(Tokenizer::create(v, "nested")->encode("qqqq") == std::vector<std::int32_t>{6, 11});
  }
}

TEST_CASE("what converters leave is repaired") {
  SUBCASE("the unknown token is CONTROL") {
    VocabData v = small();
    v.types[0] = 3;
    v.scores[0] = -1000;
    check_vocab(v, "file.gguf");
    CHECK(v.types[0] == 2);
  }
  SUBCASE("the unknown id is elsewhere") {
    VocabData v = small();
    v.types[0] = 1;
    v.types[4] = 2;
    check_vocab(v, "file.gguf");
    CHECK(v.unknown == 4);
  }
  SUBCASE("no types at all") {
    VocabData v = small_with_bytes();
    v.types.clear();
    check_vocab(v, "file.gguf");
    CHECK(v.types[0] == 2);
    CHECK(v.types[1] == 3);
    CHECK(v.types[3] == 1);
    CHECK(v.types[8] == 6);
  }
  SUBCASE("user-defined pieces with spaces") {
    VocabData v = small();
    v.pieces.insert(v.pieces.end(), {" b", " a"});
    v.scores.insert(v.scores.end(), {0, 0});
    v.types.insert(v.types.end(), {4, 4});
    check_vocab(v, "file.gguf");
    CHECK(v.pieces[8] == "\u2581b");
    CHECK(v.pieces[9] == " a");  // its other spelling is taken
    VocabData w = small();
    w.pieces.push_back(" b");
    w.scores.push_back(0);
    w.types.push_back(4);
    check_vocab(w, "tokenizer.model", VocabOrigin::sentencepiece);
    CHECK(w.pieces[8] == " b");
  }
}

TEST_CASE("a ModelProto that we wrote is the vocabulary that we read") {
  for (VocabData v : {small(), small_with_bytes()}) {
    check_vocab(v, "made");
    v.add_space_prefix = false;
    v.unknown_surface = "?";
    const VocabData back = parse_spm_model(*memory(build_model_proto(v)));
    CHECK(back.pieces == v.pieces);
    CHECK(back.scores == v.scores);
    CHECK(back.types == v.types);
    CHECK(back.bos == 1);
    CHECK(back.eos == 2);
    CHECK(back.pad == -1);
    CHECK(back.unknown_surface == "?");
    CHECK_FALSE(back.add_space_prefix);
    CHECK_FALSE(back.remove_extra_whitespaces);
    CHECK(vocab_hash(back) == vocab_hash(v));
  }
}

TEST_CASE("tokenizer.model: what sentencepiece would swallow is refused") {
  const std::string good = build_model_proto(small());
  const auto refused = [&](const std::string& bytes) {
    const Error error = error_of([&] { parse_spm_model(*memory(bytes)); });
    CHECK(error.text().find("made.model") == 0);
    return error;
  };
  CHECK_NOTHROW(parse_spm_model(*memory(good)));
  CHECK(says(refused(""), {"empty"}));
  CHECK(says(refused(good + std::string("\x2a\x04\x12\x02xx", 6)), {"precompiled_charsmap", "2 bytes"}));
  CHECK(refused(good + std::string("\x2a\x04\x12\x02xx", 6)).code() == Code::unsupported);
  CHECK(says(refused(good + std::string("\x22\x02\x0a\x00", 4)), {"self-test"}));
  CHECK(says(refused(good + std::string("\x1a\x00", 2)), {"field 3", "twice"}));
  CHECK(says(refused(good + std::string("\x32\x00", 2)), {"unknown field 6"}));
  CHECK(says(refused(good + std::string("\xc2\x0c\x00", 3)), {"unknown field 200"}));
  CHECK(says(refused(good + std::string("\x08\x01", 2)), {"wire type 0 instead of 2"}));
  CHECK(says(refused(good + std::string("\x0b\x0c", 2)), {"wire type 3"}));
  CHECK(says(refused(good + std::string("\x0a\x7f", 2)), {"127 bytes", "0 are left"}));
  CHECK(says(refused(good + std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)), {"18446744073709551615"}));
  CHECK(says(refused(good + std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11)), {"64 bits"}));
  CHECK(says(refused(good + std::string("\x0a\x02\x0a\x00", 4)), {"piece 8", "empty"}));
  CHECK(says(refused(good + std::string("\x0a\x05\x0a\x01q\x18\x07", 7)), {"piece 8", "type 7"}));
  CHECK(says(refused(good + std::string("\x0a\x05\x0a\x01q\x18\x06", 7)), {"pieces.piece[8]", "byte"}));
  CHECK(says(refused("\x0a\x03\x0a\x01q"), {"no trainer_spec"}));
  // model_type 1: sentencepiece's own default.
  std::string unigram = good;
  const std::size_t at = unigram.find(std::string("\x18\x02\x20", 3));
  REQUIRE(at != std::string::npos);
  unigram[at + 1] = 1;
  CHECK(says(refused(unigram), {"unigram", "BPE"}));
}

TEST_CASE("files cut at every byte are refused or sound, never worse") {
  VocabData v = small_with_bytes();
  check_vocab(v, "made");
  const std::string model = build_model_proto(v);
  for (std::size_t n = 0; n < model.size(); ++n)
    CHECK(error_of([&] { parse_spm_model(*memory(model.substr(0, n))); }).code() != Code::ok);

  for (const char* name : {"hf/tok_json_nobytes/tokenizer.json", "text/trained.tokenizer.json"}) {
    const std::string json = pt::read_text(pt::fixture(name));
    for (std::size_t n = 0; n + 2 < json.size(); n += 16)
      CHECK(error_of([&] { parse_hf_tokenizer(*memory(json.substr(0, n))); }).code() != Code::ok);
  }

  std::string bin("\7\0\0\0", 4);
  const auto add = [&bin](const std::string& piece, float score) {
    const auto length = static_cast<std::uint32_t>(piece.size());
    bin.append(reinterpret_cast<const char*>(&score), 4);
    bin.append(reinterpret_cast<const char*>(&length), 4);
    bin += piece;
  };
  add("<unk>", 0);
  add("\n<s>\n", 0);
  add("\n</s>\n", 0);
  add(" a", -1);
  add("b", -2);
  const VocabData whole = parse_llama2c_tokenizer(*memory(bin), 5);
  CHECK(whole.pieces == std::vector<std::string>{"<unk>", "<s>", "</s>", "\u2581a", "b"});
  CHECK(whole.types == std::vector<std::int32_t>{2, 3, 3, 1, 1});
  CHECK(parse_llama2c_tokenizer(*memory(bin), 0).pieces == whole.pieces);
  for (std::size_t n = 0; n < bin.size(); ++n)
    CHECK(error_of([&] { parse_llama2c_tokenizer(*memory(bin.substr(0, n)), 5); }).code() != Code::ok);
  CHECK(says(error_of([&] { parse_llama2c_tokenizer(*memory(bin), 4); }), {"made.model", "more than the model's 4"}));
  CHECK(says(error_of([&] { parse_llama2c_tokenizer(*memory(bin), 6); }), {"made.model"}));
  std::string negative = bin;
  std::memset(&negative[8], 0xff, 4);
  CHECK(says(error_of([&] { parse_llama2c_tokenizer(*memory(negative), 5); }), {"length of token 0", "4294967295"}));
}

TEST_CASE("tokenizer.json: what is not Llama's kind is refused with the reason") {
  const std::string good = pt::read_text(pt::fixture("text/trained.tokenizer.json"));
  const auto with = [&](const std::string& from, const std::string& to) {
    const std::size_t at = good.find(from);
    REQUIRE(at != std::string::npos);
    std::string changed = good;
    return error_of([&] { parse_hf_tokenizer(*memory(changed.replace(at, from.size(), to))); });
  };
  CHECK(with("\"type\": \"BPE\"", "\"type\": \"Unigram\"").code() == Code::unsupported);
  CHECK(says(with("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}"), {"normalizer", "NFKC"}));
  CHECK(says(with("\"pre_tokenizer\": {\"type\": \"Metaspace\"", "\"pre_tokenizer\": {\"type\": \"ByteLevel\""),
             {"pre_tokenizer", "ByteLevel"}));
  CHECK(says(with("\"dropout\": null", "\"dropout\": 0.1"), {"dropout"}));
  CHECK(says(with("\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\""), {"continuing"}));
  CHECK(says(with("\"<unk>\": 0", "\"<unk>\": 1"), {"1"}));
  CHECK(says(with("\"<unk>\": 0", "\"<unk>\": -1"), {"model.vocab", "<unk>", "-1"}));
  CHECK(says(with("\"<unk>\": 0", "\"<unk>\": 4000000000"), {"4000000000"}));
  CHECK(says(with("\"<unk>\": 0", "\"<unk>\": 100000"), {"100000", "too far"}));
  CHECK(says(with("\"unk_token\": \"<unk>\"", "\"unk_token\": \"<nope>\""), {"unk_token", "<nope>"}));
  CHECK(says(with("\"merges\": [[", "\"merges\": [[\"zzz\", \"a\"], ["), {"model.merges[0]", "zzz"}));
  CHECK(says(with("\"merges\": [[", "\"merges\": [\"no space\", \"a b c\", ["), {"model.merges"}));
  CHECK(says(with("\"merges\": [[", "\"merges\": [[\"a\"], ["), {"model.merges[0]", "pair"}));
}
