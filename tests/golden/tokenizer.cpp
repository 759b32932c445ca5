// Ids and texts against sentencepiece, tokenizers and the published vectors. The digests are printed by
// golden/scripts/tokenizer_oracle.py: PyPI sentencepiece 0.2.3 and tokenizers 0.23.3.
#include <array>
#include <string>
#include <vector>

#include "puna/base/sha256.hpp"
#include "puna/io/json.hpp"
#include "puna/text/detokenizer.hpp"
#include "puna/text/tokenizer.hpp"
#include "support.hpp"

using namespace puna;
namespace pt = puna_test;

namespace {

using Ids = std::vector<std::int32_t>;

class Digest {
 public:
  void add(const Ids& ids) {
    for (const std::int32_t id : ids) number(id);
    number(-1);
    count_ += ids.size();
  }
  void add(const std::string& text) {
    sha_.update(text.data(), text.size());
    sha_.update("\xff", 1);
  }
  std::string hex() { return to_hex(sha_.finish()); }
  std::size_t count() const { return count_; }

 private:
  void number(std::int32_t value) {
    const auto u = static_cast<std::uint32_t>(value);
    const std::uint8_t bytes[4] = {static_cast<std::uint8_t>(u), static_cast<std::uint8_t>(u >> 8),
                                   static_cast<std::uint8_t>(u >> 16), static_cast<std::uint8_t>(u >> 24)};
    sha_.update(bytes, 4);
  }
  Sha256 sha_;
  std::size_t count_ = 0;
};

// The generator of tokenizer_oracle.py.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  std::uint64_t state_;
};

std::vector<std::string> random_texts(std::size_t count) {
  std::vector<std::string> alphabet;
  for (const char c : std::string("  eetaoinshrdlu.,!?0123456789ABCxyz\n\t<>[]/_'\"")) alphabet.emplace_back(1, c);
  for (const char* s :
       {"\u2581", "é", "ß", "д", "и", "漢", "字", "한", "ا", "\u0301", "🚀", "😀", "\u200d", "\ufeff", "\ufffd", "\u00a0",
        "the ", " and", "ing", "Hello", "  ", "    ", "<s>", "</s>", "<unk>", "<0x0A>", "\U0010ffff", "\x01", "\x7f"})
    alphabet.emplace_back(s);
  Numbers numbers(1);
  std::vector<std::string> texts(count);
  for (std::string& text : texts)
    for (std::uint64_t n = numbers.next() % 40; n > 0; --n) text += alphabet[numbers.next() % alphabet.size()];
  return texts;
}

std::vector<Ids> random_ids(std::uint64_t vocab, std::size_t count) {
  Numbers numbers(7);
  std::vector<Ids> rows(count);
  for (Ids& row : rows)
    for (std::uint64_t length = numbers.next() % 12; length > 0; --length) {
      const std::uint64_t n = numbers.next();
      row.push_back(static_cast<std::int32_t>((n >> 40 & 1) ? n % std::min<std::uint64_t>(vocab, 300) : n % vocab));
    }
  return rows;
}

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer, const Ids& ids) {
  Detokenizer stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) stream.feed(id, text);
  stream.flush(text);
  return text;
}

std::shared_ptr<const Tokenizer> open(const pt::fs::path& path) { return Tokenizer::open(File::open(path.string())); }

struct Expected {
  const char* shakespeare;
  const char* stories;
  std::size_t random_count;
  const char* random;
  const char* ids_decoded;
};

// Every random text decodes to itself but for what "<unk>" and the like cannot break: the same for each vocabulary.
constexpr const char* random_decoded = "c7ff872dd386e38a2fad972b40a21586f60e7786a3716b2d34515525830efd9b";

void check_against_sentencepiece(const std::shared_ptr<const Tokenizer>& tokenizer, const Expected& expected) {
  Digest ids, decoded, from_ids;
  for (const std::string& text : random_texts(20000)) {
    const Ids row = tokenizer->encode(text);
    ids.add(row);
    decoded.add(tokenizer->decode(row));
  }
  CHECK(ids.count() == expected.random_count);
  CHECK(ids.hex() == expected.random);
  CHECK(decoded.hex() == random_decoded);
  std::size_t streams_differ = 0;
  for (const Ids& row : random_ids(static_cast<std::uint64_t>(tokenizer->size()), 20000)) {
    const std::string text = tokenizer->decode(row);
    from_ids.add(text);
    streams_differ += streamed(tokenizer, row) != text ? 1 : 0;
  }
  CHECK(from_ids.hex() == expected.ids_decoded);
  CHECK(streams_differ == 0);
}

void check_texts(const std::shared_ptr<const Tokenizer>& tokenizer, const Expected& expected) {
  PUNA_SHARED(shakespeare, "text/tinyshakespeare.txt");
  PUNA_SHARED(stories, "text/tinystories_a.txt");
  const auto check = [&](const pt::fs::path& path, const char* digest) {
    const std::string text = pt::read_text(path);
    const Ids ids = tokenizer->encode(text);
    Digest d;
    d.add(ids);
    CHECK(d.hex() == digest);
    CHECK(tokenizer->decode(ids) == text);
  };
  check(shakespeare, expected.shakespeare);
  check(stories, expected.stories);
}

// One JSON object per line.
std::vector<Json> read_rows(const pt::fs::path& path) {
  std::vector<Json> rows;
  const std::string text = pt::read_text(path);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.size(), text.find('\n', at));
    if (end > at) rows.push_back(Json::parse(std::string_view(text).substr(at, end - at), path.string()));
    at = end + 1;
  }
  return rows;
}

Ids ids_of(const Json& list) {
  Ids ids;
  REQUIRE(list.items());
  for (const Json& id : *list.items()) ids.push_back(static_cast<std::int32_t>(*id.whole()));
  return ids;
}

std::string text_of(const Json& row, const char* key) {
  const Json* value = row.find(key);
  return value && value->string() ? *value->string() : "";
}

std::string bytes_of(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

bool flag_of(const Json& row, const char* key) {
  const Json* value = row.find(key);
  return value && value->boolean() && *value->boolean();
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the 73 published encode vectors of Llama 2's tokenizer") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  PUNA_SHARED(vectors, "tokenizer/vectors_published.jsonl");
  const auto tokenizer = open(model);
  std::size_t passed = 0;
  const auto rows = read_rows(vectors);
  for (const Json& row : rows) {
    const std::string note = text_of(row, "note");
    EncodeOptions options;
    options.bos = flag_of(row, "add_bos");
    options.eos = flag_of(row, "add_eos");
    options.parse_special = flag_of(row, "parse_special");
    if (contains(note, "add_prefix_space=False")) options.space_prefix = false;
    if (contains(note, "legacy=False")) options.prefix_after_special = false;
    // A "newer fast tokenizer" leaves the space out where the text begins with one.
    if (contains(note, "newer fast tokenizer")) options.space_prefix = false;
    const std::string text = text_of(row, "text");
    const Ids ids = tokenizer->encode(text, options);
    const Ids expected = ids_of(*row.find("ids"));
    CAPTURE(text);
    CHECK(ids == expected);
    passed += ids == expected ? 1 : 0;
  }
  CHECK(rows.size() == 73);
  CHECK(passed == 73);
}

TEST_CASE("the 3 published decode vectors") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  PUNA_SHARED(vectors, "tokenizer/vectors_decode_published.jsonl");
  const auto tokenizer = open(model);
  const auto rows = read_rows(vectors);
  CHECK(rows.size() == 3);
  for (const Json& row : rows) {
    const Ids ids = ids_of(*row.find("ids"));
    CHECK(tokenizer->decode(ids) == text_of(row, "text"));
    CHECK(streamed(tokenizer, ids) == text_of(row, "text"));
  }
}

TEST_CASE("Llama 2's tokenizer.model against sentencepiece") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  const auto tokenizer = open(model);
  CHECK(tokenizer->size() == 32000);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->pad() == -1);
  CHECK(tokenizer->piece(29871) == "\u2581");
  CHECK(tokenizer->attributes(3 + 0x0A) == token_byte);
  const Expected expected{"259047f44851d0d9f414936feb001ebbd7bdd18e0e3decbb6f5b0c9920551a5c",
                          "f95a3f332c4463cd37b2772b4b1f186d59713b137ff8e284f39b646e51389eb2", 466996,
                          "f3cd5ff6cf0085e3fbd8df09823676dcbdc6cba2e12c524feb95eae2b40d31c9",
                          "be2bb061c28ccdb3a32a4615d61078a0c06ca5ea5fc038facdb390df4b238c97"};
  check_against_sentencepiece(tokenizer, expected);
  check_texts(tokenizer, expected);
}

TEST_CASE("llama2.c's tok512.bin against sentencepiece with the same pieces") {
  PUNA_SHARED(file, "models/stories260K/tok512.bin");
  const auto tokenizer = open(file);
  CHECK(tokenizer->size() == 512);
  const Expected expected{"7f9d5dceb3a930bf4aa1c94abe9571d4d740eceff619b66f2be108deaec2b0a8",
                          "f680f5e3e14ba5475b69d4cf5e4e27ed4f4a3c6ccd2bfe5876a37339b8008cf8", 641319,
                          "e977bb32718240b96d06eec9fa22b02957cc4a56250ca0c440fe3d1467c50a8d",
                          "e8c261cc0649c85d8db38818e1563e3e841b4d1e24fd5f6d61ebf93634041c8d"};
  check_against_sentencepiece(tokenizer, expected);
  check_texts(tokenizer, expected);
  EncodeOptions bos;
  bos.bos = true;
  CHECK(tokenizer->encode("Once upon a time", bos) == Ids{1, 403, 407, 261, 378});  // llama2.c's run.c
}

TEST_CASE("a small tokenizer.model against sentencepiece") {
  const auto tokenizer = open(pt::fixture("hf/tied/tokenizer.model"));
  const Expected expected{"81c2fe3f98ac95cc49b0fd12cf53515c51cdb195cb82685244869607da10083e",
                          "b5ae113f19374054d7a6ee571cb5b8e407afa015b05c47d4b66751a43f041965", 643920,
                          "35c7f5aa6f1415d55c44995089eb09608360e2bdb1b642dc9529d67b5225c22b",
                          "2acf6b4eb6a9c66fcb31c565515d6a23dd196aa942d57cedba7bc33f5b89adf3"};
  check_against_sentencepiece(tokenizer, expected);
  check_texts(tokenizer, expected);
  std::size_t rows = 0;
  for (const Json& row : read_rows(pt::fixture("hf/tied/vectors.jsonl"))) {
    const Ids ids = ids_of(*row.find("ids"));
    CHECK(tokenizer->encode(text_of(row, "text")) == ids);
    CHECK(tokenizer->decode(ids) == text_of(row, "decoded"));
    ++rows;
  }
  CHECK(rows > 20);
}

TEST_CASE("the demo model's tokenizer: sentencepiece's own encodings and its text after each token of a stream") {
  const auto tokenizer = open(pt::fixture("tiny/tokenizer.model"));
  std::size_t encoded = 0, refused = 0, streams = 0;
  for (const Json& row : read_rows(pt::fixture("text/encode.jsonl"))) {
    const Ids ids = ids_of(*row.find("ids"));
    CHECK(tokenizer->decode(ids) == text_of(row, "decoded"));
    if (row.find("bytes_hex")) {  // sentencepiece takes U+FFFD for what is not UTF-8; we refuse it
      CHECK_THROWS_AS(tokenizer->encode(bytes_of(text_of(row, "bytes_hex"))), Error);
      ++refused;
      continue;
    }
    CAPTURE(text_of(row, "text"));
    CHECK(tokenizer->encode(text_of(row, "text")) == ids);
    ++encoded;
  }
  for (const Json& row : read_rows(pt::fixture("text/stream.jsonl"))) {
    const Ids ids = ids_of(*row.find("ids"));
    CAPTURE(text_of(row, "what"));
    CHECK(tokenizer->decode(ids) == text_of(row, "text"));
    CHECK(streamed(tokenizer, ids) == text_of(row, "text"));
    ++streams;
    if (!row.find("emitted")) continue;  // readers may differ on when an impossible beginning is given up
    const Json::Items* emitted = row.find("emitted")->items();
    REQUIRE(emitted->size() == ids.size());
    Detokenizer stream(tokenizer);
    for (std::size_t i = 0; i < ids.size(); ++i) CHECK(stream.feed(ids[i]) == *(*emitted)[i].string());
    CHECK(stream.flush() == text_of(row, "flush"));
  }
  CHECK(encoded == 254);
  CHECK(refused == 24);
  CHECK(streams == 80);
}

TEST_CASE("tokenizer.json files against tokenizers") {
  struct File {
    const char* json;
    const char* vectors;  // null: the digest alone
    std::size_t count;
    const char* digest;
  };
  constexpr std::array<File, 7> files{{
      {"hf/tok_json/tokenizer.json", "hf/tok_json/vectors.jsonl", 643920,
       "35c7f5aa6f1415d55c44995089eb09608360e2bdb1b642dc9529d67b5225c22b"},
      {"hf/tok_json/tokenizer.metaspace.json", "hf/tok_json/vectors.metaspace.jsonl", 643061,
       "7374d172ad1390a030a5fcefbf2c6fb8cdd635ec1499ef7c9f8c2f214c8b71db"},
      {"hf/tok_json_nobytes/tokenizer.json", "hf/tok_json_nobytes/vectors.jsonl", 376838,
       "e687bf8c97891787b7793b661bc56e7e84bb354de01a7ecda50c4dc2de564ccc"},
      {"text/trained.tokenizer.json", nullptr, 432600,
       "3a6041b7ecf0488535131e40ca26d770f6d0f3fb0a4705921a607ac244422d96"},
      {"text/trained_bytes.tokenizer.json", nullptr, 648666,
       "2d081a01ed95435db04d1f937a6d236ead4fa854a72be08bcc5f6680543c9dca"},
      {"text/words.tokenizer.json", nullptr, 221719,
       "81cd0880af824d47180978b0b705e5615b433996906f750e5f661bd81649844d"},
      {"text/words_first.tokenizer.json", nullptr, 200830,
       "e960fe30fce21b40e429c595d061552df732de135355653b900aac123f3de3fb"},
  }};
  const auto texts = random_texts(20000);
  for (const File& file : files) {
    CAPTURE(file.json);
    const auto tokenizer = open(pt::fixture(file.json));
    Digest digest;
    for (const std::string& text : texts) digest.add(tokenizer->encode(text));
    CHECK(digest.count() == file.count);
    CHECK(digest.hex() == file.digest);
    if (!file.vectors) continue;
    for (const Json& row : read_rows(pt::fixture(file.vectors))) {
      EncodeOptions options;
      options.parse_special = flag_of(row, "parse_special");
      options.prefix_after_special = !contains(file.json, "metaspace");
      const Ids ids = ids_of(*row.find("ids"));
      CAPTURE(text_of(row, "text"));
      CHECK(tokenizer->encode(text_of(row, "text"), options) == ids);
      // Where Hugging Face's decoder and sentencepiece's disagree, sentencepiece's rules count.
      const char* decoded = row.find("decoded_sentencepiece") ? "decoded_sentencepiece" : "decoded";
      CHECK(tokenizer->decode(ids) == text_of(row, decoded));
      CHECK(streamed(tokenizer, ids) == text_of(row, decoded));
    }
  }
}

TEST_CASE("infilling: no space before the suffix, as Meta's trick with a smiley has it") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  const auto tokenizer = open(model);
  EncodeOptions bare;
  bare.space_prefix = false;
  CHECK(tokenizer->encode("    return x\n", bare) == Ids{1678, 736, 921, 13});
  Digest digest;
  for (const std::string& text : random_texts(2000)) digest.add(tokenizer->encode(text, bare));
  CHECK(digest.count() == 45578);
  CHECK(digest.hex() == "3e2ff7154372425d83b16da9fc917cda25d6b43db30ac9360abe1349f6c4a0d4");
}

TEST_CASE("Meta's chat prompts of one turn") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  PUNA_SHARED(file, "chat/meta_chat_vectors.json");
  const auto tokenizer = open(model);
  const Json root = Json::parse(pt::read_text(file), file.string());
  EncodeOptions bos;
  bos.bos = true;
  std::size_t checked = 0;
  REQUIRE(root.find("prompts"));
  for (const Json& prompt : *root.find("prompts")->items()) {
    bool answered = false;
    for (const Json& message : *prompt.find("messages")->items()) answered |= text_of(message, "role") == "assistant";
    if (answered) continue;  // turns are encoded one by one: the chat template's test
    CHECK(tokenizer->encode(text_of(prompt, "text"), bos) == ids_of(*prompt.find("ids")));
    ++checked;
  }
  CHECK(checked > 0);
}
