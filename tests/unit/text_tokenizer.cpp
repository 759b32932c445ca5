// Tokenizer and Detokenizer where no file is needed: options, errors, cutting of long texts, streams, threads.
#include <algorithm>
#include <atomic>
#include <string>
#include <thread>

#include "puna/text/detokenizer.hpp"
#include "puna/text/spm_model.hpp"
#include "puna/text/tokenizer.hpp"
#include "support.hpp"
#include "../../lib/text/cut_points.hpp"
#include "../../lib/text/spm_engine.hpp"

using namespace puna;
namespace pt = puna_test;

namespace {

using Ids = std::vector<std::int32_t>;

struct Builder {
  VocabData v;
  std::int32_t add(const std::string& piece, std::int32_t type = 1, float score = 0) {
    v.pieces.push_back(piece);
    v.types.push_back(type);
    v.scores.push_back(score);
    return static_cast<std::int32_t>(v.pieces.size()) - 1;
  }
  explicit Builder(bool bytes = true) {
    add("<unk>", 2);
    add("<s>", 3);
    add("</s>", 3);
    for (int byte = 0; bytes && byte < 256; ++byte) add(piece_of_byte(byte), 6);
  }
  // Pieces in the order of their merges.
  Builder& merges(std::initializer_list<const char*> pieces) {
    for (const char* piece : pieces) add(piece, 1, -static_cast<float>(v.pieces.size()));
    return *this;
  }
  std::shared_ptr<const Tokenizer> make() const { return Tokenizer::create(v, "made"); }
};

template <class Work>
Error error_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::ok, "no error");
}

class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }

 private:
  std::uint64_t state_;
};

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer, const Ids& ids, bool first, bool skip) {
  Detokenizer stream(tokenizer, first, skip);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string more = stream.feed(id);
    CHECK(utf8_error(more) == std::string::npos);  // whole characters only
    text += more;
    // A stream goes on from its saved state.
    const Detokenizer::State saved = stream.state();
    stream = Detokenizer(tokenizer, first, skip);
    stream.restore(saved);
  }
  return text + stream.flush();
}

}  // namespace

TEST_CASE("bytes that are not UTF-8 are refused with their offset") {
  const auto t = Builder().make();
  for (const auto& [text, at] : {std::pair<std::string, const char*>{"abc\xff", "byte 3"},
                                 {"\xc3", "byte 0"},
                                 {"ok \xed\xa0\x80", "byte 3"},
                                 {"\xf0\x9f\x98", "byte 0"},
                                 {"\xe2\x82\xac\x80", "byte 3"}}) {
    const Error error = error_of([&, &text = text] { t->encode(text); });
    CHECK(error.code() == Code::encoding);
    CHECK(error.text().find(at) != std::string::npos);
  }
  CHECK(t->encode(std::string("\0b", 2)) == Ids{3 + 0xe2, 3 + 0x96, 3 + 0x81, 3, 3 + 'b'});
}

TEST_CASE("ids out of range") {
  const auto t = Builder().make();
  for (const std::int32_t bad : {-1, t->size(), 1 << 30}) {
    CHECK(error_of([&] { t->decode(Ids{3, bad}); }).code() == Code::argument);
    CHECK(error_of([&] { t->piece(bad); }).text().find(std::to_string(bad)) != std::string::npos);
    Detokenizer stream(t);
    stream.feed(3 + 0xe2);
    const auto before = stream.state();
    CHECK(error_of([&] { stream.feed(bad); }).code() == Code::argument);
    CHECK(stream.state() == before);
  }
}

TEST_CASE("special tokens in text: only when asked, the longest, with the prefix rules") {
  Builder b;
  b.merges({"\u2581", "a", "\u2581a"});
  const std::int32_t space = 259, a = 260, space_a = 261;
  const std::int32_t longer = b.add("</s>x", 3);
  const std::int32_t user = b.add("<u>", 4);
  const auto t = b.make();
  EncodeOptions parse;
  parse.parse_special = true;
  CHECK(t->encode("<s>a").size() == 5);  // spelt out
  CHECK(t->encode("<s>a", parse) == Ids{1, space_a});
  CHECK(t->encode("a<s>a</s>xa</s>", parse) == Ids{space_a, 1, space_a, longer, space_a, 2});
  CHECK(t->encode("<s><s>", parse) == Ids{1, 1});
  CHECK(t->encode("<unk>", parse) == Ids{0});
  CHECK(t->encode("<s", parse) == t->encode("<s"));
  parse.prefix_after_special = false;
  CHECK(t->encode("a<s>a", parse) == Ids{space_a, 1, a});
  CHECK(t->encode("<s>a", parse) == Ids{1, a});
  parse.space_prefix = false;
  parse.prefix_after_special = true;
  CHECK(t->encode("a<s>a", parse) == Ids{a, 1, a});
  // A user-defined piece is always found; sentencepiece puts its space before the whole text only.
  CHECK(t->encode("a<u>a") == Ids{space_a, user, a});
  CHECK(t->encode("<u>") == Ids{space, user});
  EncodeOptions ends;
  ends.bos = ends.eos = true;
  CHECK(t->encode("a", ends) == Ids{1, space_a, 2});
  CHECK(t->encode("", ends) == Ids{1, 2});
  CHECK(t->encode("").empty());
}

TEST_CASE("a control piece of one character does not match text") {
  // Alone, sentencepiece 0.2.1 finds it and then refuses the text ("all normalized characters are not consumed").
  Builder b;
  const std::int32_t control = b.add("#", 3);
  const auto t = b.make();
  EncodeOptions bare;
  bare.space_prefix = false;
  CHECK(t->encode("#", bare) == Ids{3 + '#'});
  bare.parse_special = true;
  CHECK(t->encode("#", bare) == Ids{control});
  CHECK(t->piece(control) == "#");
}

TEST_CASE("what stands beside a file: more rows than pieces, another EOS") {
  Builder b(false);
  b.merges({"\u2581", "a", "\u2581a"});
  const std::int32_t turn_end = b.add("<end>", 3);
  const std::string model = build_model_proto(b.v);
  VocabSource source;
  source.kind = VocabSource::Kind::spm_model;
  source.file = File::from_memory(std::as_bytes(std::span(model.data(), model.size())), "made.model");
  CHECK(Tokenizer::create(source)->size() == 7);
  CHECK(Tokenizer::create(source)->eos() == 2);
  source.arrays.eos = turn_end;
  source.arrays.bos = 5;  // no control token: the file knows better
  source.arrays.chat_template = "...";
  const auto t = Tokenizer::create(source, 10);
  CHECK(t->size() == 10);
  CHECK(t->eos() == turn_end);
  CHECK(t->bos() == 1);
  CHECK(t->vocab().chat_template == "...");
  CHECK(t->piece(9) == "[PAD9]");
  CHECK(t->attributes(9) == token_unused);
  CHECK(t->encode("a") == Ids{5});
  CHECK(Tokenizer::create(VocabSource{}) == nullptr);
}

TEST_CASE("a vocabulary without BOS says so") {
  Builder b;
  b.v.bos = -1;
  EncodeOptions bos;
  bos.bos = true;
  const auto t = b.make();
  CHECK(error_of([&] { t->encode("a", bos); }).code() == Code::unsupported);
  CHECK_NOTHROW(t->encode("a"));
}

TEST_CASE("attributes, pieces and ids") {
  Builder b;
  const std::int32_t user = b.add("<u>", 4);
  const std::int32_t unused = b.add("[PAD1]", 5);
  const auto t = b.make();
  CHECK(t->attributes(0) == token_unknown);
  CHECK(t->attributes(1) == token_control);
  CHECK(t->attributes(3) == token_byte);
  CHECK(t->attributes(user) == token_user_defined);
  CHECK(t->attributes(unused) == token_unused);
  CHECK(t->find("<u>") == user);
  CHECK(t->find("</s>") == 2);
  CHECK_FALSE(t->find("nothing").has_value());
  CHECK_FALSE(t->find("").has_value());
  CHECK(t->pad() == -1);
  CHECK(t->hash().size() == 64);
  b.v.scores[3] = -1;
  CHECK(b.make()->hash() != t->hash());
}

TEST_CASE("Code Llama's infilling prompts") {
  Builder b;
  b.merges({"\u2581", "a", "\u2581a", "b"});
  const std::int32_t a = 260, space_a = 261, tok_b = 262;
  (void)a;
  CHECK(error_of([&] { b.make()->encode_infill("a", "b"); }).code() == Code::unsupported);
  const std::int32_t pre = b.add("\u2581<PRE>", 3), suf = b.add("\u2581<SUF>", 3), mid = b.add("\u2581<MID>", 3),
                     eot = b.add("\u2581<EOT>", 3);
  const auto t = b.make();
  CHECK(t->prefix() == pre);
  CHECK(t->eot() == eot);
  CHECK(t->encode_infill("a", "b") == Ids{1, pre, space_a, suf, tok_b, mid});
  CHECK(t->encode_infill("a", "b", InfillOrder::suffix_prefix_middle) == Ids{1, pre, suf, tok_b, mid, space_a});
  CHECK(t->encode_infill("", "") == Ids{1, pre, suf, mid});
}

TEST_CASE("decoding: what is asked of the first piece and of control tokens") {
  Builder b;
  b.merges({"\u2581", "a", "\u2581a"});
  const std::int32_t space = 259, a = 260, space_a = 261;
  const auto t = b.make();
  DecodeOptions keep, show;
  keep.first_piece_rule = false;
  show.skip_special = false;
  CHECK(t->decode(Ids{1, space_a, 2}) == "a");
  CHECK(t->decode(Ids{1, space_a, 2}, keep) == " a");
  CHECK(t->decode(Ids{1, space_a, 2}, show) == "<s> a</s>");
  CHECK(t->decode(Ids{space, space_a}) == " a");  // exactly one space goes
  CHECK(t->decode(Ids{0, a}) == " \u2047 a");
  CHECK(t->decode(Ids{3 + 0xf0, 3 + 0x9f, 3 + 0x98, 3 + 0x80}) == "\U0001F600");
  CHECK(t->decode(Ids{3 + 0xf0, 3 + 0x9f, a}) == "\ufffd\ufffda");
  CHECK(t->decode(Ids{3 + 0xe2, 1, 3 + 0x82, 3 + 0xac}) == "\ufffd\ufffd\ufffd");  // a control token ends the run
}

TEST_CASE("a stream gives whole characters, and all of them together are decode's") {
  Builder b;
  b.merges({"\u2581", "a", "\u2581a", "\u2581\u2581", "b\u2581", "é"});
  b.add("<u>", 4);
  b.add("\u2581<v>", 4);
  for (const bool strip : {true, false})
    for (const bool extra : {true, false}) {
      b.v.add_space_prefix = strip;
      b.v.remove_extra_whitespaces = extra;
      const auto t = b.make();
      const SpmEngine spm(build_model_proto(t->vocab()), "made");
      Numbers numbers(3);
      for (int round = 0; round < 3000; ++round) {
        Ids ids;
        for (std::uint64_t n = numbers.below(14); n > 0; --n) {
          // Mostly bytes that begin or continue characters, the pieces, and the special ones.
          const std::uint64_t kind = numbers.below(4);
          if (kind == 0) ids.push_back(static_cast<std::int32_t>(259 + numbers.below(8)));
          else if (kind == 1) ids.push_back(static_cast<std::int32_t>(numbers.below(3)));
          else ids.push_back(static_cast<std::int32_t>(3 + 0x80 + numbers.below(0x80)));
        }
        for (const bool first : {true, false})
          for (const bool skip : {true, false}) {
            DecodeOptions options;
            options.first_piece_rule = first;
            options.skip_special = skip;
            REQUIRE(streamed(t, ids, first, skip) == t->decode(ids, options));
          }
        REQUIRE(t->decode(ids) == spm.decode(ids));
      }
    }
}

TEST_CASE("an incomplete character is held back, and no more") {
  const auto t = Builder().make();
  Detokenizer stream(t);
  CHECK(stream.feed(3 + 0xf0) == "");
  CHECK(stream.feed(3 + 0x9f) == "");
  CHECK(stream.feed(3 + 0x98) == "");
  CHECK(stream.state().tail_size == 3);
  CHECK(stream.feed(3 + 0x80) == "\U0001F600");
  CHECK(stream.feed(3 + 0xe0) == "");
  CHECK(stream.feed(3 + 0x80) == "\ufffd\ufffd");  // overlong: known at once
  CHECK(stream.feed(3 + 'x') == "x");
  CHECK(stream.feed(3 + 0xc3) == "");
  CHECK(stream.flush() == "\ufffd");
  CHECK(stream.flush() == "");
  Detokenizer::State bad;
  bad.tail_size = 4;
  CHECK(error_of([&] { stream.restore(bad); }).code() == Code::argument);
  bad.tail_size = 1;
  bad.tail[0] = 'a';
  CHECK(error_of([&] { stream.restore(bad); }).code() == Code::argument);
}

TEST_CASE("a long text is cut without changing an id") {
  // Pieces that overlap, cross words, hold line breaks; a vocabulary where unknown characters fuse; unused pieces.
  Builder with_bytes, fusing(false), unused(true);
  for (Builder* b : {&with_bytes, &fusing, &unused})
    b->merges({"\u2581", "a", "b", "c", "ab", "bc", "abc", "\u2581a", "a\u2581", "a\u2581b", "\u2581\u2581", "cc", "cccc", "é", "aé"});
  with_bytes.add("c\nc", 4);
  unused.add("abca", 5, 5);
  for (const Builder* b : {&with_bytes, &fusing, &unused}) {
    const auto t = b->make();
    const SpmEngine whole(build_model_proto(t->vocab()), "made");
    Numbers numbers(11);
    const std::vector<std::string> alphabet{"a", "b", "c", " ", "\n", "é", "漢", "zz", "c\nc", "cc", "ab"};
    for (int round = 0; round < 4; ++round) {
      std::string text;
      while (text.size() < 150000) text += alphabet[numbers.below(round == 3 ? 7 : alphabet.size())];
      Ids expected;
      whole.encode(text, expected);
      REQUIRE(t->encode(text) == expected);
    }
  }
}

TEST_CASE("wherever a text may be cut, the parts give the ids of the whole") {
  Numbers numbers(5);
  const std::vector<std::string> alphabet{"a", "b", " ", "\n", "é"};
  std::size_t cuts = 0;
  for (int round = 0; round < 400; ++round) {
    Builder b(numbers.below(2) == 0);
    const auto word = [&](std::size_t longest) {
      std::string out;
      for (std::uint64_t n = 1 + numbers.below(longest); n > 0; --n) {
        const std::string& c = alphabet[numbers.below(alphabet.size())];
        out += c == " " ? "\u2581" : c;
      }
      return out;
    };
    for (std::uint64_t n = 4 + numbers.below(24); n > 0; --n) {
      const std::string piece = word(1 + numbers.below(5));
      if (std::find(b.v.pieces.begin(), b.v.pieces.end(), piece) != b.v.pieces.end()) continue;
      const std::int32_t types[] = {1, 1, 1, 1, 1, 5, 5, 4};
      b.add(piece, types[numbers.below(8)], -static_cast<float>(numbers.below(10)));  // with ties
    }
    b.v.add_space_prefix = false;
    check_vocab(b.v, "made");
    const SpmEngine spm(build_model_proto(b.v), "made");
    const CutPoints points(b.v);
    for (int texts = 0; texts < 20; ++texts) {
      std::string text;
      for (std::uint64_t n = numbers.below(60); n > 0; --n) text += alphabet[numbers.below(alphabet.size())];
      Ids whole, parts;
      spm.encode(text, whole);
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = points.next(text, at);
        spm.encode(text.substr(at, end - at), parts);
        at = end;
        ++cuts;
      }
      REQUIRE(parts == whole);
    }
  }
  CHECK(cuts > 10000);
}

TEST_CASE("lengths") {
  Builder b;
  b.merges({"\u2581", "a", "aa"});
  const auto t = b.make();
  CHECK(error_of([&] { t->encode(std::string(Tokenizer::max_text_bytes + 1, 'a')); }).code() == Code::argument);
  const Error uncut = error_of([&] { t->encode(std::string((std::size_t{16} << 20) + 1, 'a')); });
  CHECK(uncut.code() == Code::argument);
  CHECK(uncut.text().find("16777217 bytes") != std::string::npos);
  // Text that is one unbroken run of pieces, and text that can be cut anywhere.
  CHECK(t->encode(std::string(std::size_t{1} << 20, 'a')).size() == (std::size_t{1} << 19) + 1);
  CHECK(t->encode(std::string(std::size_t{4} << 20, '\n')).size() == (std::size_t{4} << 20) + 1);
}

TEST_CASE("one tokenizer, many threads") {
  Builder b;
  b.merges({"\u2581", "a", "b", "ab", "\u2581a", "\u2581ab"});
  const auto t = b.make();
  EncodeOptions bare;
  bare.space_prefix = false;
  const auto other = b.make();
  const Ids expected = other->encode("ab abba"), expected_bare = other->encode("ab abba", bare);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        if (t->encode("ab abba", bare) != expected_bare) ++wrong;
        if (t->encode("ab abba") != expected || t->decode(expected) != "ab abba") ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
