// Every allocation of a load and an encode fails once: an exception each time, never a crash, and nothing leaks. Alone in
// its program, because it replaces operator new.
#include <cstdlib>
#include <new>
#include <string>

#include "puna/text/hf_tokenizer.hpp"
#include "puna/text/spm_model.hpp"
#include "puna/text/tokenizer.hpp"
#include "support.hpp"

namespace {
bool armed = false;
long countdown = 0;
long living = 0;

void* give(std::size_t n) {
  if (armed && --countdown == 0) throw std::bad_alloc();
  void* block = std::malloc(n ? n : 1);
  if (!block) throw std::bad_alloc();
  if (armed) ++living;
  return block;
}
}  // namespace

void* operator new(std::size_t n) { return give(n); }
void* operator new[](std::size_t n) { return give(n); }
void operator delete(void* p) noexcept {
  if (armed && p) --living;
  std::free(p);
}
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete[](void* p, std::size_t) noexcept { operator delete(p); }

using namespace puna;
namespace pt = puna_test;

namespace {

// Runs work with the nth allocation failing, for every n up to the first run that gets through. Returns that n.
template <class Work>
long fail_each(Work work) {
  for (long n = 1;; ++n) {
    bool failed = false;
    countdown = n;
    living = 0;
    armed = true;
    try {
      work();
    } catch (const std::bad_alloc&) {
      failed = true;
    } catch (const Error& error) {
      failed = error.code() == Code::memory;
      if (!failed) {
        armed = false;
        FAIL("allocation " << n << " failing gave: " << error.text());
      }
    }
    armed = false;
    if (living != 0) FAIL("allocation " << n << " failing left " << living << " blocks");
    if (!failed && countdown > 0) return n;  // a failure may also be made do with, as by a buffer to sort in
  }
}

VocabData small_vocab() {
  VocabData v;
  v.pieces = {"<unk>", "<s>", "</s>", "a", "b", "ab", "\u2581", "\u2581a", "<user>"};
  v.scores = {0, 0, 0, -3, -4, -1, -5, -2, 0};
  v.types = {2, 3, 3, 1, 1, 1, 1, 1, 4};
  return v;
}

void use(const Tokenizer& tokenizer) {
  EncodeOptions options;
  options.bos = true;
  options.parse_special = true;
  const auto ids = tokenizer.encode("ab abba <s>b <user> a long enough text for a few allocations more", options);
  tokenizer.decode(ids);
  options.space_prefix = false;  // the second processor
  tokenizer.encode("ab", options);
}

}  // namespace

TEST_CASE("sentencepiece's engine survives each failing allocation") {
  {  // what is made once per process
    const auto first = Tokenizer::create(small_vocab(), "made");
    use(*first);
  }
  const VocabData vocab = small_vocab();
  const long n = fail_each([&] { use(*Tokenizer::create(vocab, "made")); });
  MESSAGE(n << " allocations");
  CHECK(n > 100);
}

TEST_CASE("reading tokenizer.model and tokenizer.json survives each failing allocation") {
  const std::string model = build_model_proto(small_vocab());
  const auto file = File::from_memory(std::as_bytes(std::span(model.data(), model.size())), "made.model");
  CHECK(fail_each([&] { parse_spm_model(*file); }) > 10);
  const std::string json =
      R"({"added_tokens":[{"id":1,"content":"<s>","special":true}],"normalizer":null,
          "pre_tokenizer":{"type":"Metaspace","replacement":")" "\u2581" R"(","prepend_scheme":"always"},
          "model":{"type":"BPE","unk_token":"<unk>","vocab":{"<unk>":0,"<s>":1,"a":2,"b":3,"ab":4},"merges":[["a","b"]]}})";
  const auto json_file = File::from_memory(std::as_bytes(std::span(json.data(), json.size())), "made.json");
  CHECK(fail_each([&] { use(*Tokenizer::create(parse_hf_tokenizer(*json_file), "made", VocabOrigin::hugging_face)); }) > 50);
}
