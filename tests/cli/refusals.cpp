// Wrong usage is 2, failed work is 1; either way one line says why, and nothing else comes out.
#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;

TEST_CASE("wrong usage: exit 2 and one line") {
  const std::string model = fixture("tiny/model.gguf").string();
  const std::vector<Arguments> wrong{
      {},
      {"frobnicate"},
      {"generate"},
      {"generate", "-p", "no model"},
      {"generate", "-m"},
      {"generate", "-m", model, "--frobnicate"},
      {"generate", "-m", model, "left over"},
      {"generate", "-m", model, "-n", "12x"},
      {"generate", "-m", model, "-n", "-5"},
      {"generate", "-m", model, "-n", "0"},
      {"generate", "-m", model, "-n", " 5"},
      {"generate", "-m", model, "-n", "0x10"},
      {"generate", "-m", model, "-n", "99999999999999999999"},
      {"generate", "-m", model, "--temperature", "1,5"},
      {"generate", "-m", model, "--temperature", "-1"},
      {"generate", "-m", model, "--temperature", "nan"},
      {"generate", "-m", model, "--temperature", "inf"},
      {"generate", "-m", model, "--top-p", "1.5"},
      {"generate", "-m", model, "--top-k", "-1"},
      {"generate", "-m", model, "--seed", "-1"},
      {"generate", "-m", model, "--threads", "0"},
      {"generate", "-m", model, "--logprobs", "65"},
      {"generate", "-m", model, "--logit-bias", "3"},
      {"generate", "-m", model, "--logit-bias", "x=1"},
      {"generate", "-m", model, "--stop", ""},
      {"generate", "-m", model, "--cache", "f8"},
      {"generate", "-m", model, "--memory-limit", "10X"},
      {"generate", "-m", model, "--memory-limit", "99999999999T"},
      {"generate", "-m", model, "--sha256", "abc"},
      {"generate", "-m", model, "--ids", "1,2,x"},
      {"generate", "-m", model, "--ids", "1,,2"},
      {"generate", "-m", model, "--ids", "1,-2"},
      {"generate", "-m", model, "--ids", ""},
      {"generate", "-m", model, "-p", "a", "--ids", "1"},
      {"generate", "-m", model, "-p", "a", "-f", "-"},
      {"tokenize", "-m", model},
      {"tokenize", "-m", model, "text", "--decode", "1"},
      {"tokenize", "text"},
      {"logits", "-m", model, "--ids", "1"},
      {"logits", "-m", model, "--out", "x.npy"},
      {"logits", "-m", model, "--ids", "1", "--out", "x.npy", "--chunk", "0"},
      {"perplexity", "-m", model},
      {"perplexity", "-m", model, "-f", "-", "--documents", "-"},
      {"perplexity", "-m", model, "-f", "-", "--ctx", "1"},
      {"inspect"},
      {"plan"},
      {"plan", "-m", model, "--task", "dance"},
      {"bench"},
      {"bench", "-m", model, "--synthetic", "7b"},
      {"bench", "-m", model, "-p", "0", "-n", "0"},
      {"bench", "-m", model, "--reps", "0"},
      {"convert", model, "out.gguf", "--dtype", "q2_k"},
  };
  for (const Arguments& arguments : wrong) {
    std::string line;
    for (const std::string& argument : arguments) line += argument + " ";
    CAPTURE(line);
    check_refused(run(arguments), 2);
  }
}

TEST_CASE("failed work: exit 1 and one line that names the file") {
  const puna_test::TempDir folder;
  const std::string model = fixture("tiny/model.gguf").string();
  const std::string cut = (folder / "cut.gguf").string();
  const auto bytes = puna_test::read_file(model);
  puna_test::write_file(cut, bytes.data(), bytes.size() / 2);
  const std::string text = (folder / "text.txt").string();
  puna_test::write_file(text, "This is no model.");
  const std::string missing = (folder / "missing").string();
  const std::string zero(64, '0');
  const std::vector<std::pair<Arguments, std::string>> failing{
      {{"generate", "-m", missing}, missing},
      {{"generate", "-m", cut}, cut},
      {{"generate", "-m", text}, text},
      {{"generate", "-m", folder.path().string()}, folder.path().string()},
      {{"generate", "-m", model, "-f", missing}, missing},
      {{"generate", "-m", model, "-f", folder.path().string()}, folder.path().string()},
      {{"generate", "-m", model, "--tokenizer", missing}, missing},
      {{"generate", "-m", model, "--sha256", zero}, model},
      {{"tokenize", "-m", missing, "text"}, missing},
      {{"tokenize", "-m", model, "--lines", missing}, missing},
      {{"tokenize", "-m", fixture("llama2c/v0_tied/model.bin").string(), "text"}, "its tokenizer.bin is needed"},
      {{"tokenize", "-m", fixture("llama2c/v2_group32/model.bin").string(), "text"}, "its tokenizer.bin is needed"},
      {{"logits", "-m", model, "--ids", "1", "--out", missing + "/x.npy"}, missing + "/x.npy"},
      {{"perplexity", "-m", model, "-f", missing}, missing},
      {{"inspect", missing}, missing},
      {{"inspect", text}, text},
      {{"inspect", cut}, cut},
      {{"plan", "-m", missing}, missing},
      {{"logits", "-m", model, "--ids", "1", "--out", "/dev/full"}, "/dev/full: cannot write: it is no regular file"},
      {{"quantize", cut, cut, "--type", "q8_0"}, cut},
      {{"bench", "-m", missing}, missing},
  };
  for (const auto& [arguments, name] : failing) {
    CAPTURE(arguments[0]);
    CAPTURE(name);
    const Ran ran = run(arguments);
    CAPTURE(ran.err);
    check_refused(ran, 1);
    CHECK(ran.err.find(name) != std::string::npos);
  }
  check_refused(run({"generate", "-m", model, "--ids", "1,99999999"}), 1);
  check_refused(run({"generate", "-m", model, "-p", "\xff\xfe"}), 1);
  check_refused(run({"tokenize", "-m", model, "--decode", "99999999"}), 1);
  check_refused(run({"bench", "--synthetic", "9x"}), 1);
}

TEST_CASE("a hostile name cannot write to the terminal") {
  const Ran ran = run({"inspect", "no\x1b[31m\nsuch"});
  check_refused(ran, 1);
  CHECK(ran.err.find('\x1b') == std::string::npos);
}

TEST_CASE("help is on stdout, tidy, and no failure") {
  for (const char* command : {"generate", "tokenize", "logits", "perplexity", "inspect", "plan", "bench", "version"}) {
    CAPTURE(command);
    const Ran ran = run({command, "--help"});
    CHECK(ran.code == 0);
    CHECK(ran.err.empty());
    CHECK(ran.out.find("--json") != std::string::npos);
  }
  const Ran all = run({"--help"});
  CHECK(all.code == 0);
  CHECK(all.out.find("perplexity") != std::string::npos);
}

TEST_CASE("names outside ASCII are names") {
  const puna_test::TempDir folder;
  const fs::path dir = folder.path() / fs::path(u8"übung 模型 ไทย");
  fs::create_directories(dir);
  const fs::path model = dir / fs::path(u8"модель.gguf"), prompt = dir / fs::path(u8"提示.txt");
  fs::copy_file(fixture("tiny/model.gguf"), model);
  puna_test::write_file(prompt, "Once upon a time");
  const Ran said = run({"generate", "-m", model.string(), "-f", prompt.string(), "-n", "4", "-q"});
  CHECK(said.out.rfind("Once upon a time", 0) == 0);
  CHECK(run({"inspect", model.string(), "--json"}).code == 0);
  const fs::path out = dir / fs::path(u8"λογιτς.npy");
  CHECK(run({"logits", "-m", model.string(), "--ids", "1,2", "--out", out.string(), "-q"}).code == 0);
  CHECK(fs::exists(out));
  const Ran bad = run({"generate", "-m", (dir / fs::path(u8"нет.gguf")).string()});
  check_refused(bad, 1);
  CHECK(bad.err.find("нет.gguf") != std::string::npos);
}

TEST_CASE("a full disk or a closed pipe is an error, not a crash") {
  if (!fs::exists("/dev/full")) PUNA_SKIP("needs /dev/full");
  const std::string model = fixture("tiny/model.gguf").string();
  const std::string command = "'" + cli_path() + "' generate -q -n 4 -m '" + model + "' >/dev/full";
  const Ran ran = Child("/bin/sh", {"-c", command}).wait();
  CHECK(ran.code == 1);
  CHECK(ran.err.rfind("puna: stdout: cannot write", 0) == 0);
}
