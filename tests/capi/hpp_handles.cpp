// puna.hpp: the same results as puna.h, with handles, exceptions and loops in place of statuses and callbacks.
#include <puna.hpp>

#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "../support.hpp"

using puna_test::fixture;

namespace {

const char* const prompt = "Once upon a time";

puna::Model tiny() { return puna::Model(fixture("tiny/model.gguf").string()); }

puna::GenerateOptions tokens(uint32_t n) {
  puna::GenerateOptions options;
  options.max_tokens = n;
  return options;
}

int32_t PUNA_CALL append(void* user, const char* text, size_t length) {
  static_cast<std::string*>(user)->append(text, length);
  return 0;
}

// The reference: puna.h itself.
std::string by_c(uint32_t n) {
  std::string text;
  const puna::Model model = tiny();
  puna_session* session = nullptr;
  REQUIRE(puna_session_create(&session, model.get(), nullptr, nullptr) == PUNA_OK);
  const puna::GenerateOptions options = tokens(n);
  const int32_t status =
      puna_session_generate(session, prompt, std::strlen(prompt), &options, append, &text, nullptr);
  puna_session_destroy(session);
  REQUIRE(status == PUNA_OK);
  return text;
}

}  // namespace

static_assert(!std::is_copy_constructible_v<puna::Model> && std::is_nothrow_move_constructible_v<puna::Model>);
static_assert(!std::is_copy_assignable_v<puna::Session> && std::is_nothrow_move_assignable_v<puna::Session>);

TEST_CASE("puna.hpp: a loop over the pieces, and a function for each, say what puna.h says") {
  const std::string expected = by_c(40);
  REQUIRE(expected.size() > 40);
  const puna::Model model = tiny();
  puna::Session session(model);
  std::string looped, called;
  puna::Generation generation = session.generate(prompt, tokens(40));
  for (const std::string_view piece : generation) looped += piece;
  CHECK(looped == expected);
  CHECK(generation.result().stop == PUNA_STOP_LENGTH);
  CHECK(generation.result().tokens == 40);
  session.drop(0);
  session.generate(prompt, tokens(40), [&](std::string_view piece) { called += piece; });
  CHECK(called == expected);
}

TEST_CASE("puna.hpp: leaving the loop stops the work, and the session goes on") {
  puna::Session session(tiny());  // the session keeps its model
  std::size_t pieces = 0;
  for (const std::string_view piece : session.generate(prompt)) {
    CHECK(!piece.empty());
    if (++pieces == 3) break;
  }
  const uint32_t length = session.length();
  CHECK(length >= 3);
  session.truncate(0, 2);
  CHECK(session.length() == 2);
  CHECK(session.tokens().size() == 2);
  puna::Session moved = std::move(session);
  CHECK(moved.length() == 2);
}

TEST_CASE("puna.hpp: failures are exceptions with code and text; a callback's own exception comes back out") {
  try {
    puna::Model("nowhere.gguf");
    FAIL("no exception");
  } catch (const puna::Error& error) {
    CHECK(error.code() == PUNA_E_IO);
    CHECK(std::string(error.what()).find("nowhere.gguf") != std::string::npos);
  }
  puna::Session session(tiny());
  CHECK_THROWS_AS(session.generate("\xff", tokens(4)), puna::Error);
  const auto throwing = [](std::string_view) { throw std::domain_error("mine"); };
  CHECK_THROWS_AS(session.generate(prompt, tokens(40), throwing), std::domain_error);
  CHECK(session.length() > 0);  // and goes on
}

TEST_CASE("puna.hpp: tokens, logits and a sampler by hand") {
  const puna::Model model = tiny();
  const puna::Tokenizer tokenizer = model.tokenizer();
  REQUIRE(tokenizer);
  CHECK(tokenizer.size() == model.info().vocab);
  const std::vector<int32_t> ids = tokenizer.encode(prompt);
  CHECK(ids.front() == tokenizer.special(PUNA_SPECIAL_BOS));
  CHECK(tokenizer.decode(ids) == prompt);
  CHECK(tokenizer.encode("").size() <= 1);
  puna::EncodeOptions plain;
  plain.bos = 0;
  CHECK(tokenizer.encode(prompt, plain).size() + 1 == ids.size());
  std::string text;
  puna::Detokenizer detokenizer(tokenizer);
  for (const int32_t id : ids) text += detokenizer.feed(id);
  text += detokenizer.flush();
  CHECK(text == prompt);

  puna::Session session(model);
  puna::Sampler sampler(7);
  sampler.top_k(40).top_p(0.9).temperature(0);
  puna::Span<const float> logits = session.feed(ids);
  std::string written;
  for (int i = 0; i < 10; ++i) {
    const int32_t id = sampler.sample(logits);
    sampler.accept(id);
    written += detokenizer.feed(id);
    logits = session.feed({&id, 1});
  }
  CHECK(logits.size == model.info().vocab);
  CHECK(by_c(10) == written);
}

TEST_CASE("puna.hpp: forks, runtimes, sources in memory, cancel") {
  puna::RuntimeOptions host;
  host.threads = 1;
  const puna::Runtime runtime(host);
  const auto bytes = puna_test::read_file(fixture("tiny/model.gguf"));
  const puna::Model model(puna::Source(bytes.data(), bytes.size()), {}, &runtime);
  CHECK(runtime.info().threads == 1);
  CHECK(model.metadata("general.architecture") == std::string("llama"));
  CHECK(model.metadata("no.such.key") == nullptr);

  puna::SessionOptions two;
  two.sequences = 2;
  two.context = 64;
  puna::Session session(model, two);
  session.feed(model.tokenizer().encode(prompt));
  session.fork(0, 1);
  CHECK(session.tokens(1) == session.tokens(0));
  CHECK(runtime.info().memory_used > 0);

  puna::Cancel cancel;
  cancel.trip();
  puna::GenerateOptions options = tokens(40);
  options.cancel = cancel.get();
  try {
    session.generate(prompt, options, [](std::string_view) {});
    FAIL("no exception");
  } catch (const puna::Error& error) {
    CHECK(error.code() == PUNA_E_CANCELLED);
  }
}
