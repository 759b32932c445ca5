// `puna generate` end to end. The expected text and ids are llama2.c's run.c at 350e04f (see the shared data's README).
#include <chrono>
#include <set>
#include <thread>

#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;
using puna_test::read_text;

namespace {

const std::string prompt = "Once upon a time";

// The two files of the same model, each with what the tool needs to open it.
std::vector<Arguments> stories(const fs::path& dir) {
  return {{"-m", (dir / "stories260K.bin").string(), "--tokenizer", (dir / "tok512.bin").string()},
          {"-m", (dir / "stories260K.gguf").string()}};
}

Arguments generate(const Arguments& model, const Arguments& more) {
  Arguments all{"generate"};
  all.insert(all.end(), model.begin(), model.end());
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

const Arguments tiny() { return {"-m", fixture("tiny/model.gguf").string()}; }

}  // namespace

TEST_CASE("stories260K: run.c's greedy text, from .bin and GGUF, from a prompt, a file, stdin, and ids") {
  PUNA_SHARED(dir, "models/stories260K");
  const puna_test::TempDir folder;
  const std::string file = (folder / "prompt.txt").string();
  puna_test::write_file(file, prompt);
  for (const Arguments& model : stories(dir)) {
    CAPTURE(model[1]);
    const std::string expected = read_text(dir / "expected.txt");
    // run.c's 200 steps print 200 tokens after BOS, the prompt's four included.
    CHECK(run(generate(model, {"-p", prompt, "-n", "196", "-q"})).out == expected);
    CHECK(run(generate(model, {"-f", file, "-n", "196", "-q"})).out == expected);
    CHECK(run(generate(model, {"-f", "-", "-n", "196", "-q"}), prompt).out == expected);
    CHECK(run(generate(model, {"--ids", "1,403,407,261,378", "-n", "196", "-q"})).out == expected);
    CHECK(run(generate(model, {"-p", prompt, "-n", "196", "-q", "--cache", "f32"})).out == expected);
    const std::string from_nothing = read_text(dir / "expected.run_c.t0.n200.noprompt.txt");
    CHECK(run(generate(model, {"-n", "200", "-q"})).out == from_nothing);
    CHECK(run(generate(model, {"--ids", "1", "-n", "200", "-q"})).out == from_nothing);
  }
}

TEST_CASE("stories260K: run.c's ids, and exactly the promised JSON keys") {
  PUNA_SHARED(dir, "models/stories260K");
  const std::vector<std::int32_t> expected = read_ids(dir / "expected_ids.t0.n200.run_c.txt");  // BOS first
  REQUIRE(expected.size() == 200);
  for (const Arguments& model : stories(dir)) {
    const Ran ran = run(generate(model, {"-p", prompt, "-n", "195", "--json"}));
    CHECK(ran.code == 0);
    const Json json = ran.json();
    CHECK(keys(json) == std::vector<std::string>{"decode_ms", "ids", "prompt_ids", "prompt_ms", "stop", "text"});
    std::vector<std::int32_t> ids = json["prompt_ids"];
    CHECK(ids == std::vector<std::int32_t>{1, 403, 407, 261, 378});
    for (const std::int32_t id : json["ids"]) ids.push_back(id);
    CHECK(ids == expected);
    CHECK(json["stop"] == "length");
    CHECK(json["text"].get<std::string>().rfind(", there was a little girl named Lily.", 0) == 0);
  }
}

TEST_CASE("the smallest C program says the same") {
  PUNA_SHARED(dir, "models/stories260K");
  const Ran ran = Child(example_path("01_generate"), {(dir / "stories260K.gguf").string(), prompt}).wait();
  CHECK(ran.code == 0);
  CHECK(ran.err.empty());
  std::string expected = read_text(dir / "expected.txt");
  expected.pop_back();
  CHECK(ran.out.rfind(expected, 0) == 0);
  CHECK(Child(example_path("01_generate"), {}).wait().code == 2);
  CHECK(Child(example_path("01_generate"), {"nowhere.gguf", prompt}).wait().code == 1);
}

TEST_CASE("the other examples run") {
  const std::string model = fixture("tiny/model.gguf").string();
  const Ran frames = Child(example_path("02_frame_budget"), {model, prompt, "20"}).wait();
  CHECK(frames.code == 0);
  CHECK(frames.err.find("frames; a step of 1.0 ms took") != std::string::npos);
  const Ran many = Child(example_path("03_many_sequences"), {model, prompt, "16"}).wait();
  CHECK(many.code == 0);
  for (const char* line : {"0: Once upon a time", "\n1: Once upon a time", "\n3: Once upon a time"})
    CHECK(many.out.find(line) != std::string::npos);
  const Ran host = Child(example_path("04_host"), {model, prompt, "300"}).wait();
  CHECK(host.code == 0);
  CHECK(host.err.find("bytes, 0 left") != std::string::npos);
}

TEST_CASE("people's text is the prompt and what follows; --json and --quiet leave out the rest") {
  const Ran text = run(generate(tiny(), {"-p", prompt, "-n", "8"}));
  CHECK(text.code == 0);
  CHECK(text.out.rfind(prompt, 0) == 0);
  CHECK(text.out.back() == '\n');
  CHECK(text.err.find("tokens/s") != std::string::npos);
  const Ran quiet = run(generate(tiny(), {"-p", prompt, "-n", "8", "--quiet"}));
  CHECK(quiet.out == text.out);
  CHECK(quiet.err.empty());
  const Ran json = run(generate(tiny(), {"-p", prompt, "-n", "8", "--json"}));
  CHECK(prompt + json.json()["text"].get<std::string>() + "\n" == text.out);
  CHECK(json.json()["ids"].size() == 8);
}

TEST_CASE("stop strings end the answer before they appear, across token borders too") {
  PUNA_SHARED(dir, "models/stories260K");
  const Arguments model = stories(dir)[1];
  const Json one = run(generate(model, {"-p", prompt, "--json", "--stop", "ittle gi"})).json();
  CHECK(one["text"] == ", there was a l");
  CHECK(one["stop"] == "string");
  // The first of several wins; one in brackets is no list.
  const Arguments stops{"-p", prompt, "--json", "--stop", "[x,y]", "--stop", "named", "--stop", "was"};
  const Json many = run(generate(model, stops)).json();
  CHECK(many["text"] == ", there ");
}

TEST_CASE("the context ends an answer that nothing else ends") {
  const Json json = run(generate(tiny(), {"-p", prompt, "--json", "--ignore-eos", "--context", "24"})).json();
  CHECK(json["stop"] == "context");
  CHECK(json["prompt_ids"].size() + json["ids"].size() >= 24);
  check_refused(run(generate(tiny(), {"-p", prompt, "--context", "2"})), 1);
}

TEST_CASE("a seed decides the draw") {
  const auto draw = [](const std::string& seed, const Arguments& more) {
    Arguments options{"-p", prompt, "-n", "24", "--json", "--ignore-eos", "--seed", seed};
    options.insert(options.end(), more.begin(), more.end());
    return run(generate(tiny(), options)).json()["ids"].get<std::vector<std::int32_t>>();
  };
  const Arguments hot{"--temperature", "1.5"};
  CHECK(draw("7", hot) == draw("7", hot));
  CHECK(draw("7", hot) != draw("8", hot));
  CHECK(draw("18446744073709551615", hot).size() == 24);
  // Each way of drawing, once through; --top-k 1 is the likeliest.
  const auto greedy = draw("1", {});
  CHECK(draw("2", {"--temperature", "0"}) == greedy);
  CHECK(draw("2", {"--top-k", "1"}) == greedy);
  CHECK(draw("2", {"--top-k", "1", "--typical", "0.9", "--top-p", "0.9", "--min-p", "0.1"}) == greedy);
  CHECK(draw("2", {"--mirostat", "5", "--mirostat-eta", "0.2"}).size() == 24);
  const std::string forbidden = std::to_string(greedy[0]) + "=-inf";
  CHECK(draw("2", {"--logit-bias", forbidden})[0] != greedy[0]);
}

TEST_CASE("penalties and DRY reach the answer") {
  const auto written = [](const Arguments& more) {
    Arguments options{"-p", prompt, "-n", "60", "--json", "--ignore-eos"};
    options.insert(options.end(), more.begin(), more.end());
    const Json json = run(generate(tiny(), options)).json();
    std::vector<std::int32_t> ids = json["prompt_ids"];
    ids.insert(ids.end(), json["ids"].begin(), json["ids"].end());
    return ids;
  };
  const auto repeated = [](const std::vector<std::int32_t>& ids, std::size_t length) {
    std::set<std::vector<std::int32_t>> seen;
    for (auto at = ids.begin(); at + static_cast<std::ptrdiff_t>(length) <= ids.end(); ++at)
      if (!seen.emplace(at, at + static_cast<std::ptrdiff_t>(length)).second) return true;
    return false;
  };
  const auto greedy = written({});
  CHECK(repeated(greedy, 1));
  // Too dear to be worth it: no token comes twice, no pair comes twice.
  CHECK(!repeated(written({"--presence-penalty", "100000", "--penalty-window", "100"}), 1));
  CHECK(!repeated(written({"--frequency-penalty", "100000", "--penalty-window", "100"}), 1));
  CHECK(!repeated(written({"--dry", "100000", "--dry-allowed", "1", "--dry-base", "2", "--dry-breakers", "0"}), 2));
  CHECK(written({"--repeat-penalty", "1"}) == greedy);
  CHECK(written({"--repeat-penalty", "1000"}) != greedy);
}

TEST_CASE("--logprobs adds the drawn token's and the likeliest tokens' log-probabilities") {
  const Json json = run(generate(tiny(), {"-p", prompt, "-n", "4", "--json", "--logprobs", "3"})).json();
  REQUIRE(json["logprobs"].size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& one = json["logprobs"][i];
    CHECK(one["id"] == json["ids"][i]);
    REQUIRE(one["top"].size() == 3);
    CHECK(one["top"][0]["id"] == one["id"]);  // greedy
    CHECK(one["top"][0]["logprob"] == one["logprob"]);
    CHECK(one["top"][0]["logprob"].get<double>() >= one["top"][1]["logprob"].get<double>());
    CHECK(one["logprob"].get<double>() <= 0);
  }
}

TEST_CASE("Ctrl-C ends cleanly, with what there is and exit status 130") {
  // Forty thousand tokens: nobody waits for their end.
  const Arguments endless{"-p", prompt, "--ignore-eos", "--context", "40000"};
  Child text(cli_path(), generate(tiny(), endless));
  REQUIRE(text.wait_for_output(100));
  text.interrupt();
  const Ran ran = text.wait();
  CHECK(ran.code == 130);
  CHECK(ran.out.rfind(prompt, 0) == 0);
  CHECK(ran.out.back() == '\n');
  CHECK(ran.err == "puna: interrupted\n");

  Arguments as_json = endless;
  as_json.push_back("--json");
  Child json(cli_path(), generate(tiny(), as_json));
  REQUIRE(json.wait_until_catching());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // past the loading of a small file
  json.interrupt();
  const Ran stopped = json.wait();
  CHECK(stopped.code == 130);
  CHECK(stopped.json()["stop"] == "cancelled");
}
