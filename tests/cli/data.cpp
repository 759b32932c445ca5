// puna data: what it says of good files and bad ones.
#include "run_cli.hpp"

using namespace cli_test;

namespace {

const std::string good = R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"hello"}]})" "\n";
std::string model() { return puna_test::fixture("tiny/model.gguf").string(); }

}  // namespace

TEST_CASE("data: rows, tokens and what is learnt, format and template said aloud") {
  puna_test::TempDir dir;
  const std::string file = (dir / "rows.jsonl").string();
  puna_test::write_file(dir / "rows.jsonl", good + good);
  const Ran ran = run({"data", "-m", model(), "--data", file, "--template", "llama-2"});
  CHECK(ran.code == 0);
  CHECK(ran.out.find("jsonl, rows of messages, template llama-2") != std::string::npos);
  CHECK(ran.out.find("<s> [INST] Hi [/INST]\xC2\xAB hello </s>\xC2\xBB") != std::string::npos);
  CHECK(ran.out.find("warning line 2: duplicate: the same as line 1") != std::string::npos);
  const Json json = run({"data", "-m", model(), file, "--template", "llama-2", "--json"}).json();
  CHECK(json["rows"] == 2);
  CHECK(json["tokens"] == 46);
  CHECK(json["loss_tokens"] == 10);
  CHECK(json["problems"].size() == 1);
  CHECK(json["sample"]["ids"].size() == 23);
}

TEST_CASE("data: each thing that is wrong, with its line, and exit 1") {
  struct Case { const char* name; std::string text; const char* kind; int line; };
  const std::string u = R"({"role":"user","content":"a"})";
  const Case cases[] = {
      {"broken.jsonl", good + "{\"messages\":", "broken", 2},
      {"broken.csv", "text,id\n\"open,1\n", "broken", 2},
      {"blank.jsonl", "\n \n", "empty_file", 0},
      {"bytes.jsonl", good + "{\"text\":\"\xff\"}\n", "encoding", 2},
      {"roles.jsonl", good + "{\"messages\":[" + u + "," + u + "]}\n", "roles", 2},
      {"empty.jsonl", good + "{\"messages\":[" + u + R"(,{"role":"assistant","content":""}]})", "empty_answer", 2},
      {"masked.jsonl", good + "{\"messages\":[" + u + R"(,{"role":"assistant","content":"b","weight":0}]})", "all_masked", 2},
      {"tags.jsonl", good + "{\"messages\":[" + u + R"(,{"role":"assistant","content":"[INST]"}]})", "special_tag", 2},
  };
  puna_test::TempDir dir;
  for (const Case& c : cases) {
    CAPTURE(c.name);
    puna_test::write_file(dir / c.name, c.text);
    const std::string file = (dir / c.name).string();
    const Ran ran = run({"data", "-m", model(), file, "--template", "llama-2", "--json"});
    CHECK(ran.code == 1);
    const Json json = ran.json();
    REQUIRE(json["problems"].size() >= 1);
    CHECK(json["problems"][0]["kind"] == c.kind);
    CHECK(json["problems"][0]["line"] == c.line);
    CHECK(json["refused"] == 1);
    CHECK(ran.err.find("1 row would be refused") != std::string::npos);
  }
  CHECK(run({"data", "-m", model(), (dir / "tags.jsonl").string(), "--template", "llama-2", "--tags", "neutralise"}).code == 0);
}

TEST_CASE("data: wrong usage is 2, a file that is not there or a template that is not known is 1") {
  check_refused(run({"data", "-m", model()}), 2);
  check_refused(run({"data", "rows.jsonl"}), 2);
  check_refused(run({"data", "-m", model(), "rows.jsonl", "--tags", "sloppy"}), 2);
  check_refused(run({"data", "-m", model(), "/nowhere/rows.jsonl"}), 1);
  const Ran ran = run({"data", "-m", model(), puna_test::fixture("text/encode.jsonl").string(), "--template", "llama-9"});
  check_refused(ran, 1);
  CHECK(ran.err.find("llama-2, code-llama, vicuna") != std::string::npos);
}
